//! Names of images, as the distribution project writes them.

/// The full form: `hello` is `docker.io/library/hello:latest`. `None` for what is no name.
pub fn normalized(name: &str) -> Option<String> {
    let (path, digest) = match name.split_once('@') {
        Some((path, digest)) => (path, Some(digest)),
        None => (name, None),
    };
    let (repository, tag) = split_tag(path);
    let (domain, path) = match repository.split_once('/') {
        Some((first, rest)) if is_domain(first) => (first, rest.to_string()),
        _ => ("docker.io", repository.to_string()),
    };
    let path = match domain {
        "docker.io" if !path.contains('/') => format!("library/{path}"),
        _ => path,
    };
    let is_valid = |text: &str, extra: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || extra.as_bytes().contains(&b))
    };
    let is_tag = |tag: &str| {
        !tag.is_empty()
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    if !path.split('/').all(|part| is_valid(part, "._-")) || tag.is_some_and(|tag| !is_tag(tag)) {
        return None;
    }
    match (tag, digest) {
        (_, Some(digest)) if is_digest(digest) => Some(format!("{domain}/{path}@{digest}")),
        (_, Some(_)) => None,
        (tag, None) => Some(format!("{domain}/{path}:{}", tag.unwrap_or("latest"))),
    }
}

/// Whether the name says no tag or `latest`, and no digest: such an image is pulled always by default.
pub fn is_latest(name: &str) -> bool {
    !name.contains('@') && matches!(split_tag(name).1, None | Some("latest"))
}

pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A colon after the last slash begins the tag; one before it is a port's.
fn split_tag(path: &str) -> (&str, Option<&str>) {
    match path.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (path, None),
    }
}

fn is_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_does_it() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, expected) in [
            ("hello", "docker.io/library/hello:latest"),
            ("hello:1", "docker.io/library/hello:1"),
            ("me/hello", "docker.io/me/hello:latest"),
            ("docker.io/hello", "docker.io/library/hello:latest"),
            ("localhost/hello", "localhost/hello:latest"),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
            ("quay.io/a/b", "quay.io/a/b:latest"),
        ] {
            assert_eq!(normalized(name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(
            normalized(&format!("a:1@{digest}")),
            Some(format!("docker.io/library/a@{digest}"))
        );
        for name in ["", "Hello", "a:b:c", "a b", "a@sha256:1", "a//b", "a:"] {
            assert_eq!(normalized(name), None, "{name}");
        }
    }

    #[test]
    fn only_an_untagged_or_latest_image_is_latest() {
        for (name, expected) in [
            ("a", true),
            ("a:latest", true),
            ("a:1", false),
            ("h:5/a", true),
            ("a@sha256:x", false),
        ] {
            assert_eq!(is_latest(name), expected, "{name}");
        }
    }
}
