//! When an image is pulled.

use crate::image::reference::is_latest;
use gantry_proto::core::v1::Container;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Use,
    Pull,
    /// It is not there and must not be pulled.
    Refuse,
}

pub fn need(container: &Container, is_present: bool) -> Need {
    let policy = match container.image_pull_policy.as_str() {
        "" if is_latest(&container.image) => "Always",
        "" => "IfNotPresent",
        policy => policy,
    };
    match (policy, is_present) {
        ("Always", _) => Need::Pull,
        (_, true) => Need::Use,
        ("Never", false) => Need::Refuse,
        (_, false) => Need::Pull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_decides_and_the_tag_where_there_is_none() {
        for (image, policy, present, expected) in [
            ("a:1", "Always", true, Need::Pull),
            ("a:1", "IfNotPresent", true, Need::Use),
            ("a:1", "IfNotPresent", false, Need::Pull),
            ("a:1", "Never", true, Need::Use),
            ("a:1", "Never", false, Need::Refuse),
            ("a", "", true, Need::Pull),
            ("a:1", "", true, Need::Use),
        ] {
            let container = Container {
                image: image.into(),
                image_pull_policy: policy.into(),
                ..Container::default()
            };
            assert_eq!(need(&container, present), expected, "{image} {policy} {present}");
        }
    }
}
