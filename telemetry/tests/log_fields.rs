//! All components name a log line's fields the same way: docs/logging.md has the names, the sources use no others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How a line of the log begins in the sources.
const MACROS: [&str; 5] = [
    "tracing::error!(",
    "tracing::warn!(",
    "tracing::info!(",
    "tracing::debug!(",
    "tracing::trace!(",
];

#[test]
fn every_field_of_every_log_line_is_documented_and_every_documented_field_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/logging.md")).unwrap();
    // Rows of the table of fields begin with the name in backticks.
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<&str> = rows.map(|(name, _)| name).collect();
    let mut used = BTreeSet::new();
    for path in sources(&root) {
        let text = std::fs::read_to_string(&path).unwrap();
        // Tests come last in a file, and log what they like.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in log_lines(code) {
            for name in field_names(line) {
                assert!(
                    documented.contains(&*name),
                    "{}: {name:?} is not in docs/logging.md: {line}",
                    path.display()
                );
                used.insert(name);
            }
        }
    }
    assert!(used.len() > 10, "{used:?}");
    let written_by_the_format = [
        "timestamp",
        "level",
        "target",
        "message",
        "spans",
        "trace_id",
        "span_id",
    ];
    let unused: Vec<_> = documented
        .iter()
        .filter(|name| !used.contains(**name) && !written_by_the_format.contains(name))
        .collect();
    assert!(unused.is_empty(), "no line has {unused:?}");
}

/// All `.rs` files of the crates' `src` folders.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .filter(|path| path.is_dir())
        .collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// What is between the parentheses of each macro.
fn log_lines(code: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    for name in MACROS {
        for (start, _) in code.match_indices(name) {
            let rest = &code[start + name.len()..];
            lines.push(&rest[..length_of(rest, |depth, c| depth == 0 && c == ')')]);
        }
    }
    lines
}

/// The names of the fields before the message.
fn field_names(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && !rest.starts_with('"') {
        let length = length_of(rest, |depth, c| depth == 0 && c == ',');
        let (field, after) = rest.split_at(length);
        let name = field.split_once('=').map_or(field, |(name, _)| name);
        names.push(name.trim().trim_start_matches(['%', '?']).to_owned());
        rest = after.trim_start_matches(',').trim();
    }
    names
}

/// How far it is to the first character outside of strings and inner parentheses that `ends` asks for.
fn length_of(text: &str, ends: impl Fn(usize, char) -> bool) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (position, c) in text.char_indices() {
        if in_string {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            continue;
        }
        if ends(depth, c) {
            return position;
        }
        match c {
            '"' => in_string = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

#[test]
fn names_are_found_with_and_without_values() {
    let code =
        r#"tracing::warn!(object = format_args!("pods/{}", a(b, c)), %error, ?step, count, "done: {x}", y);"#;
    let lines = log_lines(code);
    assert_eq!(lines.len(), 1);
    assert_eq!(field_names(lines[0]), ["object", "error", "step", "count"]);
}
