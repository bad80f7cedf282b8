//! What a list's and a watch's options mean, and which of them contradict each other
//! (apimachinery/pkg/apis/meta/internalversion/validation, apiserver/pkg/storage/interfaces.go).

use gantry_proto::meta::v1::{Status, StatusCause, StatusDetails};
use gantry_proto::status::Reason;

use super::pages::Token;

const EXACT: &str = "Exact";
const NOT_OLDER_THAN: &str = "NotOlderThan";

/// A list's options as a client sends them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOptions<'a> {
    pub resource_version: &'a str,
    /// `NotOlderThan`, `Exact` or empty.
    pub resource_version_match: &'a str,
    /// The most objects of one chunk; none below 1.
    pub limit: i64,
    /// The token of the chunk before.
    pub r#continue: &'a str,
}

/// Which state a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The store's present state.
    Consistent,
    /// What is at hand, if it is of this revision or later.
    NotOlderThan(i64),
    /// That of one revision.
    Exact(i64),
    /// What the chunks before were of.
    Continue(Token),
}

/// A watch's options as a client sends them.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchOptions<'a> {
    pub resource_version: &'a str,
    pub resource_version_match: &'a str,
    pub send_initial_events: Option<bool>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the store's present state, as additions.
    Present,
    /// With what is at hand if it is of this revision or later, as additions.
    NotOlderThan(i64),
    /// After a revision, which may be one that the store has not reached yet.
    After(i64),
    /// After the store's present revision.
    Now,
    /// After the revision that is at hand.
    AtHand,
}

impl ListOptions<'_> {
    /// The state that is meant, and the most objects of it, `None` for all.
    pub fn reading(&self) -> Result<(Reading, Option<usize>), Status> {
        let causes = self.contradictions();
        if !causes.is_empty() {
            return Err(invalid(causes));
        }
        // What is at hand is never given in chunks: the next one could not be had from another server.
        let limit = usize::try_from(self.limit)
            .ok()
            .filter(|limit| *limit > 0 && self.resource_version != "0");
        Ok((self.state()?, limit))
    }

    fn state(&self) -> Result<Reading, Status> {
        if !self.r#continue.is_empty() {
            let token = Token::decode(self.r#continue)
                .map_err(|error| bad_request(format!("invalid continue token: {error}")))?;
            if !matches!(self.resource_version, "" | "0") {
                return Err(bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            return Ok(Reading::Continue(token));
        }
        if self.resource_version.is_empty() {
            return Ok(Reading::Consistent);
        }
        let revision = parse_revision(self.resource_version)
            .map_err(|error| bad_request(format!("invalid resource version: {error}")))?;
        // Without a match, a limit makes a revision mean itself; that is how Kubernetes grew up.
        let exact = self.resource_version_match == EXACT
            || (self.resource_version_match.is_empty() && self.limit > 0 && revision > 0);
        Ok(if exact {
            Reading::Exact(revision)
        } else {
            Reading::NotOlderThan(revision)
        })
    }

    fn contradictions(&self) -> Vec<StatusCause> {
        let mut causes = Vec::new();
        let given = self.resource_version_match;
        if given.is_empty() {
            return causes;
        }
        let mut forbid = |detail: &str| causes.push(forbidden("resourceVersionMatch", detail));
        if self.resource_version.is_empty() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !self.r#continue.is_empty() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if given == EXACT && self.resource_version == "0" {
            forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if given != EXACT && given != NOT_OLDER_THAN {
            causes.push(unsupported(given, r#""Exact", "NotOlderThan", """#));
        }
        causes
    }
}

impl WatchOptions<'_> {
    pub fn start(&self) -> Result<Start, Status> {
        // A watch that says nothing about its beginning gets the present state.
        let sends = match (self.send_initial_events, self.resource_version_match) {
            (None, "") if matches!(self.resource_version, "" | "0") => Some(true),
            (sends, matching) => {
                let causes = contradictions(sends, matching);
                if !causes.is_empty() {
                    return Err(invalid(causes));
                }
                sends
            }
        };
        let revision = parse_revision(self.resource_version).map_err(bad_request)?;
        Ok(match (sends, self.resource_version, revision) {
            (Some(true), "", _) => Start::Present,
            (Some(true), _, revision) => Start::NotOlderThan(revision),
            (_, "", _) => Start::Now,
            (_, _, 0) => Start::AtHand,
            (_, _, revision) => Start::After(revision),
        })
    }
}

fn contradictions(sends: Option<bool>, matching: &str) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    if sends.is_some() && matching != NOT_OLDER_THAN {
        causes.push(forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if matching.is_empty() {
        return causes;
    }
    if sends.is_none() {
        causes.push(forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    if matching != NOT_OLDER_THAN {
        causes.push(unsupported(matching, r#""NotOlderThan""#));
    }
    causes
}

/// Reads a resourceVersion; none is 0. The words are Kubernetes', which are those of Go's strconv.
pub fn parse_revision(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let wrong = |why: &str| {
        format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}")
    };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("invalid syntax"));
    }
    match text.parse::<u64>() {
        // The store counts in fewer numbers: such a revision is never reached.
        Ok(revision) => Ok(i64::try_from(revision).unwrap_or(i64::MAX)),
        Err(_) => Err(wrong("value out of range")),
    }
}

fn bad_request(message: impl Into<String>) -> Status {
    Status::failure(Reason::BadRequest, message)
}

fn forbidden(field: &str, detail: &str) -> StatusCause {
    StatusCause {
        reason: "FieldValueForbidden".into(),
        message: format!("Forbidden: {detail}"),
        field: field.into(),
    }
}

fn unsupported(value: &str, supported: &str) -> StatusCause {
    StatusCause {
        reason: "FieldValueNotSupported".into(),
        message: format!("Unsupported value: {value:?}: supported values: {supported}"),
        field: "resourceVersionMatch".into(),
    }
}

fn invalid(causes: Vec<StatusCause>) -> Status {
    let texts: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect();
    let all = match &texts[..] {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let mut status = Status::failure(
        Reason::Invalid,
        format!("ListOptions.meta.k8s.io \"\" is invalid: {all}"),
    );
    status.details = Some(StatusDetails {
        group: "meta.k8s.io".into(),
        kind: "ListOptions".into(),
        causes,
        ..StatusDetails::default()
    });
    status
}

#[cfg(test)]
mod tests {
    use gantry_proto::Key;

    use super::*;

    const FORBIDDEN: &str = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: ";

    #[test]
    fn a_list_shows_what_its_options_ask_for() {
        let check =
            |version: &str, matching: &str, limit: i64, expected: Result<(Reading, Option<usize>), &str>| {
                let options = ListOptions {
                    resource_version: version,
                    resource_version_match: matching,
                    limit,
                    r#continue: "",
                };
                let found = options.reading().map_err(|status| status.message);
                assert_eq!(found, expected.map_err(str::to_owned), "{options:?}");
            };
        check("", "", 0, Ok((Reading::Consistent, None)));
        check("", "", 5, Ok((Reading::Consistent, Some(5))));
        check("", "", -5, Ok((Reading::Consistent, None)));
        check("0", "", 5, Ok((Reading::NotOlderThan(0), None)));
        check("7", "", 0, Ok((Reading::NotOlderThan(7), None)));
        check("7", "", 5, Ok((Reading::Exact(7), Some(5))));
        check("7", "NotOlderThan", 5, Ok((Reading::NotOlderThan(7), Some(5))));
        check("7", "Exact", 0, Ok((Reading::Exact(7), None)));
        let forbidden = |detail: &str| format!("{FORBIDDEN}{detail}");
        check(
            "",
            "Exact",
            0,
            Err(&forbidden(
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            )),
        );
        check(
            "0",
            "Exact",
            0,
            Err(&forbidden(
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            )),
        );
        check(
            "7",
            "exact",
            0,
            Err(
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \"exact\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
        );
        check(
            "x1",
            "",
            0,
            Err(
                "invalid resource version: resourceVersion: Invalid value: \"x1\": strconv.ParseUint: parsing \"x1\": invalid syntax",
            ),
        );
        check(
            "-1",
            "",
            0,
            Err(
                "invalid resource version: resourceVersion: Invalid value: \"-1\": strconv.ParseUint: parsing \"-1\": invalid syntax",
            ),
        );
        check(
            "99999999999999999999",
            "",
            0,
            Err(
                "invalid resource version: resourceVersion: Invalid value: \"99999999999999999999\": strconv.ParseUint: parsing \"99999999999999999999\": value out of range",
            ),
        );
    }

    #[test]
    fn a_token_goes_with_no_other_revision() {
        let token = Token::new(7, &Key::new("a", "b"), "");
        let encoded = token.encode();
        let check = |version: &str, matching: &str, expected: Result<(Reading, Option<usize>), &str>| {
            let options = ListOptions {
                resource_version: version,
                resource_version_match: matching,
                limit: 5,
                r#continue: &encoded,
            };
            let found = options.reading().map_err(|status| status.message);
            assert_eq!(found, expected.map_err(str::to_owned), "{options:?}");
        };
        check("", "", Ok((Reading::Continue(token.clone()), Some(5))));
        check("0", "", Ok((Reading::Continue(token.clone()), None)));
        check(
            "7",
            "",
            Err("specifying resource version is not allowed when using continue"),
        );
        check(
            "7",
            "Exact",
            Err(&format!(
                "{FORBIDDEN}resourceVersionMatch is forbidden when continue is provided"
            )),
        );
    }

    #[test]
    fn a_watch_begins_where_its_options_say() {
        let check = |version: &str, matching: &str, sends: Option<bool>, expected: Result<Start, &str>| {
            let options = WatchOptions {
                resource_version: version,
                resource_version_match: matching,
                send_initial_events: sends,
            };
            let found = options.start().map_err(|status| status.message);
            assert_eq!(found, expected.map_err(str::to_owned), "{options:?}");
        };
        let not_older = "NotOlderThan";
        check("", "", None, Ok(Start::Present));
        check("0", "", None, Ok(Start::NotOlderThan(0)));
        check("7", "", None, Ok(Start::After(7)));
        check("", not_older, Some(true), Ok(Start::Present));
        check("0", not_older, Some(true), Ok(Start::NotOlderThan(0)));
        check("7", not_older, Some(true), Ok(Start::NotOlderThan(7)));
        check("", not_older, Some(false), Ok(Start::Now));
        check("0", not_older, Some(false), Ok(Start::AtHand));
        check("7", not_older, Some(false), Ok(Start::After(7)));
        check(
            "",
            "",
            Some(true),
            Err(&format!(
                "{FORBIDDEN}sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )),
        );
        check(
            "7",
            not_older,
            None,
            Err(&format!(
                "{FORBIDDEN}resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )),
        );
        check(
            "7",
            "Exact",
            Some(true),
            Err(
                "ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]",
            ),
        );
        check(
            "seven",
            "",
            None,
            Err(
                "resourceVersion: Invalid value: \"seven\": strconv.ParseUint: parsing \"seven\": invalid syntax",
            ),
        );
    }
}
