//! Lines with a level, cells apart by tabs.

use gantry_proto::meta::v1::{ObjectMeta, Time};
use std::collections::BTreeMap;
use std::fmt::{Arguments, Write as _};

#[derive(Default)]
pub struct Text {
    pub text: String,
}

/// Spaces per level.
const STEP: usize = 2;

impl Text {
    pub fn line(&mut self, level: usize, line: Arguments) {
        self.text.extend(std::iter::repeat_n(' ', level * STEP));
        let _ = writeln!(self.text, "{line}");
    }

    /// A title and values under each other; `<none>` where there is none.
    pub fn list(&mut self, level: usize, title: &str, values: &[String]) {
        let Some((first, rest)) = values.split_first() else {
            return self.line(level, format_args!("{title}:\t<none>"));
        };
        self.line(level, format_args!("{title}:\t{first}"));
        rest.iter()
            .for_each(|value| self.line(level, format_args!("\t{value}")));
    }

    pub fn labels(&mut self, level: usize, title: &str, labels: &BTreeMap<String, String>) {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        self.list(level, title, &pairs);
    }

    /// A long value goes on lines of its own and is cut, as kubectl does it.
    pub fn annotations(&mut self, level: usize, title: &str, annotations: &BTreeMap<String, String>) {
        const LONGEST: usize = 140;
        let shown = annotations
            .iter()
            .filter(|(key, _)| *key != crate::last_applied::ANNOTATION);
        let mut lines = Vec::new();
        for (key, value) in shown {
            let value = value.strip_suffix('\n').unwrap_or(value);
            if value.len() + key.len() + 2 <= LONGEST && !value.contains('\n') {
                lines.push(format!("{key}: {value}"));
                continue;
            }
            lines.push(format!("{key}:"));
            for line in value.split('\n') {
                let cut: String = line.chars().take(LONGEST).collect();
                lines.push(if cut.len() < line.len() {
                    format!("  {cut}...")
                } else {
                    format!("  {cut}")
                });
            }
        }
        self.list(level, title, &lines);
    }

    /// Name, namespace, labels and annotations, with which most descriptions begin.
    pub fn head(&mut self, metadata: &ObjectMeta) {
        self.line(0, format_args!("Name:\t{}", metadata.name));
        if !metadata.namespace.is_empty() {
            self.line(0, format_args!("Namespace:\t{}", metadata.namespace));
        }
        self.labels(0, "Labels", &metadata.labels);
        self.annotations(0, "Annotations", &metadata.annotations);
    }
}

/// RFC 1123 with a numeric zone, in UTC.
pub fn time(time: Option<&Time>) -> String {
    let seconds = time.map_or(0, |time| time.seconds);
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) if seconds != 0 => time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        _ => "<unknown>".into(),
    }
}

/// The object's controller, as KIND/NAME.
pub fn controller(metadata: &ObjectMeta) -> Option<String> {
    let controller = metadata
        .owner_references
        .iter()
        .find(|owner| owner.controller == Some(true))?;
    Some(format!("{}/{}", controller.kind, controller.name))
}

pub fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
