//! Where lines go: standard output, or a file that is put aside when it has its size, under the name that Kubernetes'
//! apiserver gives it: `audit.log` becomes `audit-2026-11-20T17-45-14.123.log`.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use gantry_proto::meta::v1::MicroTime;

#[derive(Debug)]
pub enum Output {
    Stdout,
    File(RotatingFile),
}

impl Output {
    /// Appends whole lines, all or none as far as can be told.
    pub fn append(&mut self, lines: &[u8], now: SystemTime) -> io::Result<()> {
        match self {
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Output::File(file) => file.append(lines, now),
        }
    }
}

/// A file of bounded size, and a bounded number of full ones beside it.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    max_bytes: u64,
    max_backups: usize,
    /// Gone after a failure, until it can be opened again.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

/// `2026-11-20T17-45-14.123`.
const TIMESTAMP_BYTES: usize = 23;

impl RotatingFile {
    /// Fails where the file cannot be written. What is in it stays.
    pub fn open(path: PathBuf, max_bytes: u64, max_backups: usize) -> anyhow::Result<RotatingFile> {
        let open = open(&path).with_context(|| format!("opening the audit log {}", path.display()))?;
        Ok(RotatingFile {
            path,
            max_bytes,
            max_backups,
            open: Some(open),
        })
    }

    /// A file is larger than it may be only if one append is.
    fn append(&mut self, lines: &[u8], now: SystemTime) -> io::Result<()> {
        let bytes = lines.len() as u64;
        let full = |open: &Open| open.bytes > 0 && open.bytes + bytes > self.max_bytes;
        if self.open.as_ref().is_some_and(full) {
            self.open = None;
            self.put_aside(now)?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => open(&self.path)?,
        };
        if let Err(error) = open.file.write_all(lines) {
            // Half a line must not spoil the next one. If this fails too, the next append finds the file as it is.
            let _ = open.file.set_len(open.bytes);
            return Err(error);
        }
        open.bytes += bytes;
        self.open = Some(open);
        Ok(())
    }

    fn put_aside(&self, now: SystemTime) -> io::Result<()> {
        let mut at = now;
        let mut aside = self.backup(at);
        // Two in a millisecond must not be one.
        while aside.exists() {
            at += Duration::from_millis(1);
            aside = self.backup(at);
        }
        fs::rename(&self.path, aside)?;
        // Lines that can be written must not be lost because an old file is in somebody else's hands.
        if let Err(error) = self.remove_oldest() {
            tracing::warn!(path = %self.path.display(), %error, "old files of the audit log cannot be removed");
        }
        Ok(())
    }

    fn remove_oldest(&self) -> io::Result<()> {
        let backups = self.backups()?;
        let too_many = backups.len().saturating_sub(self.max_backups);
        let mut outcome = Ok(());
        for oldest in &backups[..too_many] {
            // One that cannot be removed is no reason to keep the others.
            outcome = outcome.and(fs::remove_file(oldest));
        }
        outcome
    }

    /// What stands before and after the time in a backup's name.
    fn name_parts(&self) -> (String, String) {
        let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = self.path.extension();
        let dot = if extension.is_some() { "." } else { "" };
        (
            format!("{}-", text(self.path.file_stem())),
            format!("{dot}{}", text(extension)),
        )
    }

    fn backup(&self, at: SystemTime) -> PathBuf {
        // A time before the epoch or with a year of five digits is no reason not to rotate.
        let time = serde_json::to_value(MicroTime::from_system(at)).unwrap_or_default();
        let time: String = time.as_str().unwrap_or_default().replace(':', "-");
        let time = time.get(..TIMESTAMP_BYTES).unwrap_or(&time);
        let (before, after) = self.name_parts();
        self.path.with_file_name(format!("{before}{time}{after}"))
    }

    /// The oldest first.
    fn backups(&self) -> io::Result<Vec<PathBuf>> {
        let (before, after) = self.name_parts();
        let is_backup = |name: &str| {
            let time = name
                .strip_prefix(&before)
                .and_then(|rest| rest.strip_suffix(&after));
            time.is_some_and(|time| time.len() == TIMESTAMP_BYTES && time.as_bytes()[10] == b'T')
        };
        let mut backups = Vec::new();
        for entry in fs::read_dir(folder(&self.path))? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_backup) {
                backups.push(entry.path());
            }
        }
        backups.sort();
        Ok(backups)
    }
}

/// Only its owner reads the log: it says more of a cluster than most of its users may know.
fn open(path: &Path) -> io::Result<Open> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder(path))?;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let bytes = file.metadata()?.len();
    Ok(Open { file, bytes })
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("gantry-audit-{name}-{}", std::process::id()));
            // Left by a process of the same number.
            let _ = fs::remove_dir_all(&folder);
            Folder(folder)
        }

        fn files(&self) -> Vec<(String, String)> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut files: Vec<_> = entries
                .map(|entry| {
                    let entry = entry.unwrap();
                    let text = fs::read_to_string(entry.path()).unwrap();
                    (entry.file_name().into_string().unwrap(), text)
                })
                .collect();
            files.sort();
            files
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_795_196_714_123 + seconds * 1000)
    }

    #[test]
    fn a_full_file_is_put_aside_and_only_the_newest_are_kept() {
        let folder = Folder::new("rotation");
        let path = folder.0.join("audit.log");
        let mut log = RotatingFile::open(path, 8, 2).unwrap();
        for (second, line) in [
            "one\n",
            "two\n",
            "three\n",
            "four\n",
            "five\n",
            "a long one\n",
            "six\n",
        ]
        .iter()
        .enumerate()
        {
            log.append(line.as_bytes(), at(second as u64)).unwrap();
        }
        let files = folder.files();
        let text = |index: usize| files[index].1.as_str();
        assert_eq!(files.len(), 3, "{files:?}");
        assert_eq!(
            (text(0), text(1), text(2)),
            ("five\n", "a long one\n", "six\n"),
            "lines are whole, the oldest files gone"
        );
        assert_eq!(files[0].0, "audit-2026-11-20T17-45-19.123.log");
        assert_eq!(files[2].0, "audit.log");
    }

    #[test]
    fn files_that_are_no_backups_of_the_log_are_left_alone() {
        let folder = Folder::new("others");
        let path = folder.0.join("audit.log");
        let mut log = RotatingFile::open(path, 1, 1).unwrap();
        for name in [
            "audit-policy.log",
            "other-2026-11-20T17-45-19.123.log",
            "audit.log.1",
        ] {
            fs::write(folder.0.join(name), "kept").unwrap();
        }
        for second in 0..4 {
            log.append(b"line\n", at(second)).unwrap();
        }
        let kept = folder.files().iter().filter(|(_, text)| text == "kept").count();
        assert_eq!((kept, folder.files().len()), (3, 5));
    }

    #[test]
    fn no_line_is_lost_because_an_old_file_cannot_be_removed() {
        let folder = Folder::new("stuck");
        let mut log = RotatingFile::open(folder.0.join("audit.log"), 1, 0).unwrap();
        // A folder is not removed as a file is.
        fs::create_dir(folder.0.join("audit-2000-01-01T00-00-00.000.log")).unwrap();
        for second in 0..3 {
            log.append(b"line\n", at(second)).unwrap();
        }
        assert_eq!(fs::read_to_string(folder.0.join("audit.log")).unwrap(), "line\n");
        let left = fs::read_dir(&folder.0).unwrap().count();
        assert_eq!(left, 2, "the others are removed");
    }

    #[test]
    fn files_put_aside_within_a_millisecond_are_all_there() {
        let folder = Folder::new("burst");
        let mut log = RotatingFile::open(folder.0.join("audit"), 1, 10).unwrap();
        for _ in 0..5 {
            log.append(b"line\n", at(0)).unwrap();
        }
        assert_eq!(folder.files().len(), 5);
    }

    #[test]
    fn a_log_goes_on_where_it_was_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new("again");
        let path = folder.0.join("deep/audit.log");
        for _ in 0..2 {
            let mut log = RotatingFile::open(path.clone(), 100, 1).unwrap();
            log.append(b"line\n", at(0)).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\nline\n");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
