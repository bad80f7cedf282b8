//! The shapes of names, keys and label values (apimachinery's util/validation and api/validate/content).
//! A function returns what is wrong with the text, and nothing where it is right.

pub type Messages = Vec<String>;

/// What a name must be.
pub type Rule = fn(&str) -> Messages;

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
const PORT_NAME_MAX: usize = 15;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const UNDERSCORE_SUBDOMAIN_FORMAT: &str =
    "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const KEY_NAME_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE_FORMAT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

/// The name of most objects.
pub fn dns_subdomain(value: &str) -> Messages {
    let mut messages = longer_than(value, SUBDOMAIN_MAX);
    if !is_subdomain(value) {
        messages.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character",
            SUBDOMAIN_FORMAT,
            &["example.com"],
        ));
    }
    messages
}

/// A DNS search path, in which labels may have underscores.
pub fn dns_subdomain_with_underscore(value: &str) -> Messages {
    let mut messages = longer_than(value, SUBDOMAIN_MAX);
    let is_label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        framed(
            label,
            |b| b.is_ascii_lowercase() || b.is_ascii_digit(),
            |b| b == b'-' || b == b'_',
        )
    };
    if !value.split('.').all(is_label) {
        messages.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
             must start and end with an alphanumeric character",
            UNDERSCORE_SUBDOMAIN_FORMAT,
            &["example.com"],
        ));
    }
    messages
}

/// The name of a namespace, a container, a volume.
pub fn dns_label(value: &str) -> Messages {
    let mut messages = longer_than(value, LABEL_MAX);
    if !is_label(value) {
        messages.push(if is_subdomain(value) {
            "must not contain dots".to_string()
        } else {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character",
                LABEL_FORMAT,
                &["my-name", "123-abc"],
            )
        });
    }
    messages
}

/// What may stand between two slashes of a URL: the least that any name must be.
pub fn path_segment(value: &str) -> Messages {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    let illegal = ["/", "%"].into_iter().filter(|text| value.contains(text));
    illegal.map(|text| format!("may not contain '{text}'")).collect()
}

/// A label's key, an annotation's key, a finalizer, a resource's name: `name` or `prefix/name`.
pub fn qualified(value: &str) -> Messages {
    let words = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                 alphanumeric character";
    let examples = ["MyName", "my.name", "123-abc"];
    let mut messages = Messages::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        ["", name] => {
            messages.push("prefix part must be non-empty".into());
            name
        }
        [prefix, name] => {
            let wrong = dns_subdomain(prefix).into_iter().map(in_bytes);
            messages.extend(wrong.map(|message| format!("prefix part {message}")));
            name
        }
        _ => {
            let error = regex_error(words, KEY_NAME_FORMAT, &examples);
            return vec![format!(
                "a valid label key {error} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        messages.push("name part must be non-empty".into());
    } else if name.len() > LABEL_MAX {
        messages.push(format!("name part {}", in_bytes(longer(LABEL_MAX))));
    }
    if !is_key_name(name) {
        messages.push(format!(
            "name part {}",
            regex_error(words, KEY_NAME_FORMAT, &examples)
        ));
    }
    messages
}

pub fn label_value(value: &str) -> Messages {
    let mut messages: Messages = longer_than(value, LABEL_MAX).into_iter().map(in_bytes).collect();
    if !value.is_empty() && !is_key_name(value) {
        messages.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            LABEL_VALUE_FORMAT,
            &["MyValue", "my_value", "12345"],
        ));
    }
    messages
}

/// A key of a ConfigMap or a Secret, which becomes a file's name.
pub fn config_key(value: &str) -> Messages {
    let mut messages = longer_than(value, SUBDOMAIN_MAX);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if value.is_empty() || !value.bytes().all(allowed) {
        messages.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => messages.push("must not be '.'".into()),
        ".." => messages.push("must not be '..'".into()),
        value if value.starts_with("..") => messages.push("must not start with '..'".into()),
        _ => {}
    }
    messages
}

pub fn environment_variable(value: &str) -> Messages {
    let mut messages = Messages::new();
    if value.is_empty() {
        messages.push("environment variable name must be non-empty".into());
    }
    if value
        .chars()
        .any(|c| !c.is_ascii() || c.is_ascii_control() || c == '=')
    {
        messages.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        );
    }
    messages
}

/// A port's name: an IANA service name (RFC 6335).
pub fn port_name(value: &str) -> Messages {
    let mut messages = longer_than(value, PORT_NAME_MAX);
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if value.is_empty() || !value.bytes().all(allowed) {
        messages.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        messages.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        messages.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        messages.push("must not begin or end with a hyphen".into());
    }
    messages
}

pub fn http_header(value: &str) -> Messages {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Messages::new();
    }
    let words = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(words, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

pub fn percent(value: &str) -> Messages {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Messages::new();
    }
    let words = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(words, "[0-9]+%", &["1%", "93%"])]
}

pub fn is_sysctl(name: &str) -> bool {
    let segment = |text: &str| {
        framed(
            text,
            |b| b.is_ascii_lowercase() || b.is_ascii_digit(),
            |b| b == b'-' || b == b'_',
        )
    };
    name.len() <= SUBDOMAIN_MAX && name.split(['.', '/']).all(segment)
}

pub fn regex_error(words: &str, format: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{words} (regex used for validation is '{format}')");
    }
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!(
        "{words} (e.g. {}regex used for validation is '{format}')",
        examples.join(" or ")
    )
}

fn longer_than(value: &str, limit: usize) -> Messages {
    if value.len() > limit {
        vec![longer(limit)]
    } else {
        Messages::new()
    }
}

fn longer(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

/// Kubernetes counts bytes in what it moved to api/validate/content, and calls them characters elsewhere.
fn in_bytes(message: String) -> String {
    if message.starts_with("must be no more than") {
        message.replace("characters", "bytes")
    } else {
        message
    }
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_label(value: &str) -> bool {
    framed(
        value,
        |b| b.is_ascii_lowercase() || b.is_ascii_digit(),
        |b| b == b'-',
    )
}

fn is_key_name(value: &str) -> bool {
    framed(
        value,
        |b| b.is_ascii_alphanumeric(),
        |b| matches!(b, b'-' | b'_' | b'.'),
    )
}

/// Not empty, begins and ends with one of `edge`, and has only those and `inner`.
fn framed(value: &str, edge: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    match value.as_bytes() {
        [] => false,
        bytes @ [first, .., last] => {
            edge(*first) && edge(*last) && bytes.iter().all(|b| edge(*b) || inner(*b))
        }
        [only] => edge(*only),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: Rule, right: &[&str], wrong: &[(&str, &[&str])]) {
        for value in right {
            assert_eq!(rule(value), Messages::new(), "{value:?}");
        }
        for (value, messages) in wrong {
            assert_eq!(rule(value), *messages, "{value:?}");
        }
    }

    #[test]
    fn labels_and_subdomains_are_those_of_rfc_1123() {
        let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                     validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
        check(
            dns_label,
            &["a", "a-1", "0", "1--a"],
            &[
                ("", &[label]),
                ("A", &[label]),
                ("a_b", &[label]),
                ("-a", &[label]),
                ("a-", &[label]),
                ("a.b", &["must not contain dots"]),
                (&"a".repeat(64), &["must be no more than 63 characters"]),
            ],
        );
        let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                         '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
                         for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        check(
            dns_subdomain,
            &["a", "a.b-c.d"],
            &[("Bad_Name", &[subdomain]), ("a..b", &[subdomain])],
        );
        check(dns_subdomain_with_underscore, &["_tcp.a_b.c"], &[]);
    }

    #[test]
    fn keys_have_an_optional_prefix() {
        let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                    an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation \
                    is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        check(
            qualified,
            &["a", "A_b.c-d", "example.com/x"],
            &[
                ("", &["name part must be non-empty", name]),
                ("/x", &["prefix part must be non-empty"]),
                ("-x", &[name]),
            ],
        );
        assert_eq!(qualified("a/b/c").len(), 1);
        check(
            label_value,
            &["", "a", "A.b_c-1"],
            &[(&"v".repeat(64), &["must be no more than 63 bytes"])],
        );
        assert_eq!(label_value("-").len(), 1);
    }

    #[test]
    fn config_keys_become_file_names() {
        check(
            config_key,
            &["a", "A.b_c-d", ".hidden"],
            &[
                (".", &["must not be '.'"]),
                ("..", &["must not be '..'"]),
                ("..a", &["must not start with '..'"]),
                (
                    "a b",
                    &[
                        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
                       or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                    ],
                ),
            ],
        );
    }

    #[test]
    fn port_names_are_iana_service_names() {
        check(
            port_name,
            &["http", "a1", "1-a"],
            &[
                (
                    "HTTP",
                    &[
                        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                        "must contain at least one letter (a-z)",
                    ],
                ),
                ("123", &["must contain at least one letter (a-z)"]),
                ("a--b", &["must not contain consecutive hyphens"]),
                ("a-", &["must not begin or end with a hyphen"]),
                ("abcdefghijklmnop", &["must be no more than 15 characters"]),
            ],
        );
    }
}
