//! Nodes that have the pod's images already (plugins/imagelocality).

use super::{Choice, MAX, Score};
use crate::filter::Wanted;
use crate::profile::Plugin;
use crate::snapshot::ImageState;
use std::borrow::Cow;

pub const SCORE: Score = Score {
    plugin: Plugin::ImageLocality,
    rate,
};

/// An image smaller than the one is fetched in no time, and one larger than the other makes no more difference.
const SMALLEST: i64 = 23 << 20;
const LARGEST_PER_CONTAINER: i64 = 1000 << 20;

fn rate(wanted: &Wanted, choice: &Choice, scores: &mut Vec<i64>) -> bool {
    let spec = wanted.spec;
    let containers = spec.init_containers.iter().chain(&spec.containers);
    let names = containers.clone().map(|container| container.image.as_str());
    let volumes = spec
        .volumes
        .iter()
        .filter_map(|volume| volume.volume_source().image.as_ref());
    let names = names.chain(volumes.map(|image| image.reference.as_str()));
    let known = &wanted.surroundings().images;
    let images: Vec<&ImageState> = names
        .filter_map(|name| known.get(&*normalized(name)))
        .map(|state| &**state)
        .collect();
    if images.is_empty() {
        return false;
    }
    let containers = i64::try_from(containers.count()).unwrap_or(1);
    let largest = LARGEST_PER_CONTAINER * containers;
    let sum = |slot: u32| {
        let scaled = images.iter().map(|image| {
            // An image that few nodes have does not draw all pods to them.
            let spread = image.size_by_slot.len() as f64 / choice.all as f64;
            image
                .size_by_slot
                .get(&slot)
                .map_or(0, |size| (*size as f64 * spread) as i64)
        });
        scaled.sum::<i64>()
    };
    scores.extend(choice.nodes.iter().map(|node| {
        let sum = sum(node.slot).clamp(SMALLEST, largest.max(SMALLEST));
        MAX * (sum - SMALLEST) / (largest - SMALLEST).max(1)
    }));
    true
}

/// An image without a tag is the latest.
fn normalized(name: &str) -> Cow<'_, str> {
    match name.rfind(':') > name.rfind('/') {
        true => name.into(),
        false => format!("{name}:latest").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        for (name, expected) in [
            ("root", "root:latest"),
            ("root:tag", "root:tag"),
            ("gcr.io:5000/root", "gcr.io:5000/root:latest"),
            ("root@sha256:1", "root@sha256:1"),
        ] {
            assert_eq!(normalized(name), expected);
        }
    }
}
