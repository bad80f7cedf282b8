//! The text that `edit` hands to an editor, and what is made of the text that comes back (kubectl's util/editor).

use crate::failure::Failure;
use gantry_proto::meta::v1::Status;
use gantry_proto::{KindInfo, patch};
use serde_json::Value;

const HEADER: &str = "\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

/// Why a text must be edited again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub head: String,
    pub details: Vec<String>,
}

impl Reason {
    pub fn new(head: impl Into<String>) -> Reason {
        Reason {
            head: head.into(),
            details: Vec::new(),
        }
    }

    /// What the server says is wrong with the object.
    pub fn of_invalid(kind: &KindInfo, name: &str, status: &Status) -> Reason {
        let cause =
            |cause: &gantry_proto::meta::v1::StatusCause| format!("{}: {}", cause.field, cause.message);
        Reason {
            head: format!("{} \"{name}\" was not valid", kind.group_resource()),
            details: status.details().causes.iter().map(cause).collect(),
        }
    }
}

/// What stands above the object.
pub fn header(reasons: &[Reason]) -> String {
    let mut text = HEADER.to_string();
    for reason in reasons {
        let colon = if reason.details.is_empty() { "" } else { ":" };
        text.push_str(&format!("# {}{colon}\n", commented(&reason.head)));
        for detail in &reason.details {
            text.push_str(&format!("# * {}\n", commented(detail)));
        }
        text.push_str("#\n");
    }
    text
}

/// Lines after the first begin with a comment's sign too.
fn commented(text: &str) -> String {
    text.replace('\n', "\n# ")
}

/// Without the comments above the object. Further below a line with a `#` may be one of the object's own, of a script in
/// a ConfigMap perhaps.
pub fn stripped(text: &str) -> String {
    let is_comment = |line: &&str| line.starts_with('#');
    text.lines()
        .skip_while(is_comment)
        .flat_map(|line| [line, "\n"])
        .collect()
}

pub fn has_lines(text: &str) -> bool {
    text.lines()
        .any(|line| !matches!(line.trim().chars().next(), None | Some('#')))
}

/// The patch that makes what was edited of what it was; `None` where nothing is different.
pub fn patch(kind: &KindInfo, original: &Value, edited: &Value) -> Result<Option<Value>, Failure> {
    if original == edited {
        return Ok(None);
    }
    let unchanged = |pointer: &str| original.pointer(pointer) == edited.pointer(pointer);
    if !(unchanged("/apiVersion") && unchanged("/kind") && unchanged("/metadata/name")) {
        return Err(Failure::message(
            "At least one of apiVersion, kind and name was changed",
        ));
    }
    let patch = patch::two_way(kind.message, original, edited);
    patch
        .map(Some)
        .map_err(|error| Failure::message(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use gantry_proto::Kind as _;
    use gantry_proto::core::v1::ConfigMap;
    use serde_json::json;

    #[test]
    fn what_was_wrong_stands_above_the_text() {
        let reasons = [
            Reason::new("The edited file had a syntax error: line 2\nis odd"),
            Reason {
                head: "pods \"a\" was not valid".into(),
                details: vec!["spec.x: Required value".into()],
            },
        ];
        expect![[r##"
            # Please edit the object below. Lines beginning with a '#' will be ignored,
            # and an empty file will abort the edit. If an error occurs while saving this file will be
            # reopened with the relevant failures.
            #
            # The edited file had a syntax error: line 2
            # is odd
            #
            # pods "a" was not valid:
            # * spec.x: Required value
            #
        "##]]
        .assert_eq(&header(&reasons));
    }

    #[test]
    fn the_comments_above_an_object_are_no_part_of_it_and_its_own_lines_are() {
        let own = "a: |\n  #!/bin/sh\n  # b\nc: 2\n";
        let text = format!("{}{own}", header(&[]));
        assert_eq!(stripped(&text), own);
        assert!(has_lines(&text));
        assert!(!has_lines(&header(&[])));
    }

    #[test]
    fn only_what_was_edited_is_patched_and_an_object_stays_itself() {
        let kind = ConfigMap::INFO;
        let original =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}});
        let mut edited = original.clone();
        assert_eq!(patch(kind, &original, &edited).unwrap(), None);
        edited["data"] = json!({"y": "2"});
        let expected = json!({"data": {"x": null, "y": "2"}});
        assert_eq!(patch(kind, &original, &edited).unwrap(), Some(expected));
        edited["metadata"]["name"] = "b".into();
        let error = patch(kind, &original, &edited).unwrap_err().to_string();
        assert_eq!(
            error,
            "error: At least one of apiVersion, kind and name was changed"
        );
    }
}
