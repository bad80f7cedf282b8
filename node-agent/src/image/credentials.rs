//! Credentials for registries, from Secrets of the types `kubernetes.io/dockerconfigjson` and
//! `kubernetes.io/dockercfg`.

use crate::image::reference;
use gantry_proto::core::v1::Secret;
use k8s_cri::v1 as cri;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct DockerConfig {
    auths: Entries,
}

type Entries = BTreeMap<String, DockerEntry>;

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct DockerEntry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
}

/// The credentials for the image's registry: those whose address is the longest that fits.
pub fn credentials<'a>(
    image: &str,
    secrets: impl IntoIterator<Item = &'a Secret>,
) -> Option<cri::AuthConfig> {
    let image = reference::normalized(image)?;
    let fits = |address: &str| {
        let place = place(address);
        image
            .strip_prefix(&place)
            .is_some_and(|rest| rest.starts_with(['/', ':', '@']))
            .then_some(place.len())
    };
    let found = secrets
        .into_iter()
        .flat_map(entries)
        .filter_map(|(address, entry)| Some((fits(&address)?, address, entry)));
    let (_, address, entry) = found.max_by_key(|(length, ..)| *length)?;
    Some(cri::AuthConfig {
        username: entry.username,
        password: entry.password,
        auth: entry.auth,
        server_address: address,
        identity_token: entry.identitytoken,
        ..cri::AuthConfig::default()
    })
}

fn entries(secret: &Secret) -> Entries {
    let whole = secret
        .data
        .get(".dockerconfigjson")
        .and_then(|bytes| serde_json::from_slice::<DockerConfig>(bytes).ok());
    let old = secret
        .data
        .get(".dockercfg")
        .and_then(|bytes| serde_json::from_slice::<Entries>(bytes).ok());
    whole.map(|config| config.auths).or(old).unwrap_or_default()
}

/// `https://index.docker.io/v1/` is Docker's own name for `docker.io`.
fn place(address: &str) -> String {
    let bare = address
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .trim_end_matches('/');
    match bare.split_once('/') {
        Some((host, "v1" | "v2")) => host,
        _ => bare,
    }
    .replace("index.docker.io", "docker.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_fitting_address_gives_the_credentials() {
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"username": "hub"},
            "quay.io": {"username": "quay"},
            "quay.io/team": {"username": "team"},
            "localhost:5000": {"auth": "dTpw"}}}"#;
        let secret = Secret {
            data: [(".dockerconfigjson".to_string(), config.as_bytes().to_vec())].into(),
            ..Secret::default()
        };
        let damaged = Secret {
            data: [(".dockerconfigjson".to_string(), b"{".to_vec())].into(),
            ..Secret::default()
        };
        let check = |image: &str, expected: Option<&str>| {
            let found = credentials(image, [&damaged, &secret])
                .map(|found| format!("{}{}", found.username, found.auth));
            assert_eq!(found.as_deref(), expected, "{image}");
        };
        check("hello", Some("hub"));
        check("quay.io/other/a:1", Some("quay"));
        check("quay.io/team/a", Some("team"));
        check("quay.io/teamwork/a", Some("quay"));
        check("localhost:5000/a", Some("dTpw"));
        check("ghcr.io/a/b", None);
    }
}
