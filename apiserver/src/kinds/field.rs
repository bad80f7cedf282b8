//! What is wrong with a field, in the words of apimachinery's util/validation/field.

use gantry_proto::meta::v1::StatusCause;
use serde::Serialize;
use std::collections::HashSet;
use std::fmt;

/// Where a field is, such as `spec.containers[0].ports[1].name`. A path borrows its parent and is rendered
/// only when there is something to say about it.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// `name` may have dots; an empty one is the object itself.
    pub const fn new(name: &'a str) -> Path<'a> {
        Path {
            parent: None,
            segment: Segment::Name(name),
        }
    }

    /// `name` may have dots.
    pub const fn child<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path {
            parent: Some(self),
            segment: Segment::Name(name),
        }
    }

    pub const fn index(&self, index: usize) -> Path<'_> {
        Path {
            parent: Some(self),
            segment: Segment::Index(index),
        }
    }

    pub const fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path {
            parent: Some(self),
            segment: Segment::Key(key),
        }
    }

    fn is_empty(&self) -> bool {
        self.parent.is_none_or(Path::is_empty) && matches!(self.segment, Segment::Name(""))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Name("") => Ok(()),
            Segment::Name(name) if self.parent.is_none_or(Path::is_empty) => f.write_str(name),
            Segment::Name(name) => write!(f, ".{name}"),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// A value as an error shows it: Go's `%v` for numbers and booleans, `%q` for strings, JSON for the rest.
pub trait Shown {
    fn shown(&self) -> String;
}

impl Shown for str {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl<T: Shown + ?Sized> Shown for &T {
    fn shown(&self) -> String {
        (**self).shown()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "null".to_string(), Shown::shown)
    }
}

macro_rules! shown_as_displayed {
    ($($type:ty),*) => {
        $(impl Shown for $type {
            fn shown(&self) -> String {
                self.to_string()
            }
        })*
    };
}

shown_as_displayed!(i32, i64, usize, bool);

/// A value that is shown as JSON, escaped as Go's encoder does.
pub struct Json(String);

impl Json {
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Json {
        let text = serde_json::to_string(value).unwrap_or_default();
        Json(
            text.replace('<', "\\u003c")
                .replace('>', "\\u003e")
                .replace('&', "\\u0026"),
        )
    }

    /// Text that is JSON already, such as Go's rendering of a type that has no JSON names.
    pub fn text(text: String) -> Json {
        Json(text)
    }
}

impl Shown for Json {
    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// Go's `%q`.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Everything that is wrong with an object, in the order in which it was found.
#[derive(Debug, Default)]
pub struct Errors(Vec<StatusCause>);

impl Errors {
    pub fn new() -> Errors {
        Errors::default()
    }

    /// The causes, each once: some fields are looked at twice, and say the same twice.
    pub fn into_causes(self) -> Vec<StatusCause> {
        // A set, because an object can be wrong in as many places as fit into it.
        let mut said = HashSet::new();
        let mut causes = self.0;
        causes.retain(|cause| said.insert((cause.field.clone(), cause.message.clone())));
        causes
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn append(&mut self, mut other: Errors) {
        self.0.append(&mut other.0);
    }

    pub fn invalid(&mut self, path: &Path, value: impl Shown, detail: impl AsRef<str>) {
        self.push(
            "FieldValueInvalid",
            path,
            format!("Invalid value: {}", value.shown()),
            detail.as_ref(),
        );
    }

    /// One error for each of `messages`.
    pub fn invalid_each(&mut self, path: &Path, value: impl Shown, messages: Vec<String>) {
        for message in messages {
            self.invalid(path, &value, message);
        }
    }

    pub fn required(&mut self, path: &Path, detail: impl AsRef<str>) {
        self.push(
            "FieldValueRequired",
            path,
            "Required value".into(),
            detail.as_ref(),
        );
    }

    pub fn forbidden(&mut self, path: &Path, detail: impl AsRef<str>) {
        self.push("FieldValueForbidden", path, "Forbidden".into(), detail.as_ref());
    }

    pub fn duplicate(&mut self, path: &Path, value: impl Shown) {
        self.duplicate_because(path, value, "");
    }

    pub fn duplicate_because(&mut self, path: &Path, value: impl Shown, detail: &str) {
        self.push(
            "FieldValueDuplicate",
            path,
            format!("Duplicate value: {}", value.shown()),
            detail,
        );
    }

    pub fn not_found(&mut self, path: &Path, value: impl Shown, detail: &str) {
        self.push(
            "FieldValueNotFound",
            path,
            format!("Not found: {}", value.shown()),
            detail,
        );
    }

    pub fn not_supported(&mut self, path: &Path, value: impl Shown, supported: &[&str]) {
        let quoted: Vec<String> = supported.iter().map(|value| quoted(value)).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        self.push(
            "FieldValueNotSupported",
            path,
            format!("Unsupported value: {}", value.shown()),
            &detail,
        );
    }

    pub fn too_long(&mut self, path: &Path, limit_bytes: usize) {
        let unit = if limit_bytes == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {limit_bytes} {unit}");
        self.push("FieldValueTooLong", path, "Too long".into(), &detail);
    }

    pub fn too_many(&mut self, path: &Path, actual: usize, limit: usize) {
        let unit = if limit == 1 { "item" } else { "items" };
        let detail = format!("must have at most {limit} {unit}");
        self.push("FieldValueTooMany", path, format!("Too many: {actual}"), &detail);
    }

    fn push(&mut self, reason: &str, path: &Path, mut message: String, detail: &str) {
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        self.0.push(StatusCause {
            reason: reason.into(),
            message,
            field: path.to_string(),
        });
    }
}

pub const IMMUTABLE: &str = "field is immutable";
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub const POSITIVE: &str = "must be greater than zero";

pub fn not_negative(value: impl Into<i64>, path: &Path, errors: &mut Errors) {
    let value = value.into();
    if value < 0 {
        errors.invalid(path, value, NOT_NEGATIVE);
    }
}

pub fn positive(value: impl Into<i64>, path: &Path, errors: &mut Errors) {
    let value = value.into();
    if value <= 0 {
        errors.invalid(path, value, POSITIVE);
    }
}

/// Go's rendering of a range error.
pub fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// `field: message` for each cause: how tests compare.
#[cfg(test)]
pub fn lines(causes: Vec<StatusCause>) -> Vec<String> {
    causes
        .into_iter()
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_render_as_kubernetes_renders_them() {
        let spec = Path::new("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        assert_eq!(
            first.child("resources.limits").key("cpu").to_string(),
            "spec.containers[0].resources.limits[cpu]"
        );
        assert_eq!(Path::new("").child("spec").to_string(), "spec");
        assert_eq!(Path::new("").to_string(), "");
    }

    #[test]
    fn each_kind_of_error_has_its_reason_and_words() {
        let path = Path::new("spec");
        let mut errors = Errors::new();
        errors.invalid(&path, "X", "must be \"small\"");
        errors.invalid(&path, 0, "");
        errors.invalid(&path, Json::of(&["<"]), "no");
        errors.required(&path, "");
        errors.forbidden(&path, "never");
        errors.duplicate(&path, "a");
        errors.not_found(&path, "v", "");
        errors.not_supported(&path, "x", &["a", "b"]);
        errors.too_long(&path, 262_144);
        errors.too_many(&path, 3, 2);
        let got: Vec<String> = errors
            .into_causes()
            .into_iter()
            .map(|cause| format!("{} {}", cause.reason, cause.message))
            .collect();
        assert_eq!(
            got,
            [
                "FieldValueInvalid Invalid value: \"X\": must be \"small\"",
                "FieldValueInvalid Invalid value: 0",
                "FieldValueInvalid Invalid value: [\"\\u003c\"]: no",
                "FieldValueRequired Required value",
                "FieldValueForbidden Forbidden: never",
                "FieldValueDuplicate Duplicate value: \"a\"",
                "FieldValueNotFound Not found: \"v\"",
                "FieldValueNotSupported Unsupported value: \"x\": supported values: \"a\", \"b\"",
                "FieldValueTooLong Too long: may not be more than 262144 bytes",
                "FieldValueTooMany Too many: 3: must have at most 2 items",
            ]
        );
    }

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        assert_eq!(quoted("a\"b\\c\n\x01é"), "\"a\\\"b\\\\c\\n\\x01é\"");
    }
}
