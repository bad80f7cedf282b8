//! Which etcd is new enough.

use crate::Error;

/// The oldest version whose answer to a progress request is never ahead of the events it covers. Kubernetes
/// trusts it from the same version on (`pkg/apiserver/storage/feature`). 3.4.31 has the same repair, but 3.4
/// is no longer maintained.
const OLDEST: [u64; 3] = [3, 5, 13];

/// Refuses a server that is too old, with the reason and the way out.
pub(super) fn check(endpoint: &str, version: &str) -> Result<(), Error> {
    match numbers(version) {
        Some(numbers) if numbers >= OLDEST => Ok(()),
        Some(_) => Err(Error::Refused(format!(
            "etcd at {endpoint} is version {version}, and 3.5.13 or newer is needed: an older etcd reports \
             progress of a watch before it has sent the events, so caches would miss changes. Upgrade it \
             (scripts/install-etcd.sh installs one that is new enough)"
        ))),
        None => Err(Error::Refused(format!(
            "etcd at {endpoint} says that its version is {version:?}, which is not a version; 3.5.13 or newer is \
             needed"
        ))),
    }
}

/// The three numbers of `3.6.0-rc.1+build`.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let release = version.split(['-', '+']).next()?;
    let mut parts = release.split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_version(version: &str, accepted: bool) {
        let result = check("https://etcd:2379", version);
        assert_eq!(result.is_ok(), accepted, "{version}: {result:?}");
    }

    #[test]
    fn a_server_older_than_3_5_13_is_refused() {
        for version in [
            "3.5.12", "3.4.23", "3.4.31", "2.3.8", "3.5.9", "", "unknown", "3.5", "3.5.x",
        ] {
            check_version(version, false);
        }
        for version in [
            "3.5.13",
            "3.5.16",
            "3.6.0",
            "3.6.0-rc.1",
            "3.10.1",
            "4.0.0",
            "3.5.21+git",
        ] {
            check_version(version, true);
        }
    }

    #[test]
    fn the_refusal_names_the_member_its_version_and_what_to_do() {
        let text = check("https://etcd:2379", "3.4.23")
            .expect_err("too old")
            .to_string();
        for part in [
            "https://etcd:2379",
            "3.4.23",
            "3.5.13 or newer",
            "scripts/install-etcd.sh",
        ] {
            assert!(text.contains(part), "{part:?} is missing in: {text}");
        }
    }
}
