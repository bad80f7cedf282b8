//! Which strings can be a label's key and value (apimachinery's api/validate/content).

const NAME_MAX_LENGTH: usize = 63;
const VALUE_MAX_LENGTH: usize = 63;
const SUBDOMAIN_MAX_LENGTH: usize = 253;

const NAME_EXPLANATION: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
     with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// What is wrong with a label's key (also an annotation's, and any qualified name): an optional DNS subdomain
/// and `/`, and a name. Kubernetes' words; nothing for a valid one.
pub fn key_complaints(key: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                complaints.push("prefix part must be non-empty".to_string());
            } else {
                complaints.extend(
                    subdomain_complaints(prefix)
                        .into_iter()
                        .map(|c| format!("prefix part {c}")),
                );
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {NAME_EXPLANATION} with an optional DNS subdomain prefix and '/' \
                 (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        complaints.push("name part must be non-empty".to_string());
    } else if name.len() > NAME_MAX_LENGTH {
        complaints.push(format!("name part must be no more than {NAME_MAX_LENGTH} bytes"));
    }
    if !is_name(name) {
        complaints.push(format!("name part {NAME_EXPLANATION}"));
    }
    complaints
}

/// What is wrong with a label's value; nothing for a valid one.
pub fn value_complaints(value: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if value.len() > VALUE_MAX_LENGTH {
        complaints.push(format!("must be no more than {VALUE_MAX_LENGTH} bytes"));
    }
    if !value.is_empty() && !is_name(value) {
        complaints.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
             regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_string(),
        );
    }
    complaints
}

/// What is wrong with a DNS subdomain (RFC 1123); nothing for a valid one.
pub fn subdomain_complaints(value: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if value.len() > SUBDOMAIN_MAX_LENGTH {
        complaints.push(format!("must be no more than {SUBDOMAIN_MAX_LENGTH} bytes"));
    }
    if !value.split('.').all(is_dns_label) {
        complaints.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_string(),
        );
    }
    complaints
}

/// Whatever its length.
fn is_dns_label(text: &str) -> bool {
    let lower = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    spans(text, lower, |byte| lower(byte) || *byte == b'-')
}

fn is_name(text: &str) -> bool {
    spans(text, u8::is_ascii_alphanumeric, |byte| {
        byte.is_ascii_alphanumeric() || b"-_.".contains(byte)
    })
}

/// Whether the text starts and ends with an `edge` byte and has only `inner` ones between.
fn spans(text: &str, edge: impl Fn(&u8) -> bool, inner: impl Fn(&u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(&edge) && bytes.last().is_some_and(&edge) && bytes.iter().all(inner)
}
