//! What ConfigMaps and Secrets are filled with: files, folders, literals and files of variables.

use std::collections::BTreeMap;
use std::path::Path;

/// Where the data comes from.
#[derive(clap::Args, Debug, Default)]
pub struct Sources {
    /// FILE, KEY=FILE, or a folder of files (repeatable)
    #[arg(long, value_name = "[KEY=]FILE", value_delimiter = ',')]
    from_file: Vec<String>,
    /// KEY=VALUE (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// A file of lines KEY=VALUE; KEY alone takes the value from the environment (repeatable)
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    from_env_file: Vec<String>,
}

/// Values by their keys.
pub type Data = BTreeMap<String, Vec<u8>>;

/// The words in which a kind refuses a key.
pub struct Refusals {
    /// A key that is not valid, and why.
    pub invalid: fn(key: &str, why: &str) -> String,
    pub duplicate: fn(key: &str) -> String,
    /// What the kind's files of variables are called.
    pub env_file_is_folder: &'static str,
}

impl Sources {
    pub fn of_files(from_file: Vec<String>) -> Sources {
        Sources {
            from_file,
            ..Sources::default()
        }
    }

    /// Reads all sources. `variable` tells the environment's values.
    pub fn read(
        &self,
        refusals: &Refusals,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Data, String> {
        let has_others = !self.from_file.is_empty() || !self.from_literal.is_empty();
        if has_others && !self.from_env_file.is_empty() {
            return Err("from-env-file cannot be combined with from-file or from-literal".into());
        }
        let mut data = Data::new();
        let mut add = |key: String, value: Vec<u8>| -> Result<(), String> {
            let complaints = key_complaints(&key);
            if !complaints.is_empty() {
                return Err((refusals.invalid)(&key, &complaints.join(",")));
            }
            if data.contains_key(&key) {
                return Err((refusals.duplicate)(&key));
            }
            data.insert(key, value);
            Ok(())
        };
        for source in &self.from_file {
            for (key, value) in files(source)? {
                add(key, value)?;
            }
        }
        for source in &self.from_literal {
            match source.split_once('=') {
                Some((key, value)) if !key.is_empty() => add(key.into(), value.into())?,
                _ => return Err(format!("invalid literal source {source}, expected key=value")),
            }
        }
        for source in &self.from_env_file {
            if Path::new(source).is_dir() {
                return Err(refusals.env_file_is_folder.into());
            }
            for (key, value) in variables(source, &read(Path::new(source))?, &variable)? {
                add(key, value.into())?;
            }
        }
        Ok(data)
    }
}

/// The files of one `--from-file`, by key.
fn files(source: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    let (key, path) = match source.split('=').collect::<Vec<_>>()[..] {
        [path] => {
            let name = Path::new(path).file_name().unwrap_or_default();
            (name.to_string_lossy().into_owned(), path)
        }
        ["", path] => return Err(format!("key name for file path {path} missing")),
        [key, ""] => return Err(format!("file path for key name {key} missing")),
        [key, path] => (key.to_string(), path),
        _ => return Err("key names or file paths cannot contain '='".into()),
    };
    let path = Path::new(path);
    if !path.is_dir() {
        return Ok(vec![(key, read(path)?)]);
    }
    if source.contains('=') {
        return Err("cannot give a key name for a directory path".into());
    }
    let failed = |error: std::io::Error| format!("error listing files in {}: {error}", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push((name, read(&entry.path())?));
        }
    }
    files.sort();
    Ok(files)
}

pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| {
        let text = error.to_string();
        // Go's errors do not end with the number.
        let words = text.split(" (os error").next().unwrap_or_default().to_lowercase();
        format!("error reading {}: {words}", path.display())
    })
}

fn variables(
    source: &str,
    text: &[u8],
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(format!(
                "env file {source} contains invalid utf8 bytes at line {}: {line:?}",
                number + 1
            ));
        };
        let line = if number == 0 {
            line.trim_start_matches('\u{feff}')
        } else {
            line
        };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, value.to_string()),
            None => (line, variable(line).unwrap_or_default()),
        };
        variables.push((key.to_string(), value));
    }
    Ok(variables)
}

/// apimachinery's IsConfigMapKey.
fn key_complaints(key: &str) -> Vec<String> {
    const MAX_LENGTH: usize = 253;
    let mut complaints = Vec::new();
    if key.len() > MAX_LENGTH {
        complaints.push(format!("must be no more than {MAX_LENGTH} characters"));
    }
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.is_empty() || !key.chars().all(is_good) {
        complaints.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .into(),
        );
    }
    if key == "." || key == ".." || key.starts_with("..") {
        complaints.push(match key {
            "." => "must not be '.'".into(),
            ".." => "must not be '..'".into(),
            _ => "must not start with '..'".into(),
        });
    }
    complaints
}
