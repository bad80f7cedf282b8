//! Which endpoint goes into which slice, with as few writes as possible: what is somewhere stays there.

use super::endpoint::Group;
use gantry_proto::discovery::v1::{Endpoint, EndpointSlice};
use std::collections::BTreeMap;
use std::mem;

/// The most endpoints in one slice, Kubernetes' default: a change of one endpoint sends about 100 x 300 bytes
/// to each node.
pub const MAX_ENDPOINTS: usize = 100;

#[derive(Debug, Default, PartialEq)]
pub struct Placement<'a> {
    /// Slices that hold something, with what they should hold.
    pub kept: Vec<(&'a EndpointSlice, Vec<Endpoint>)>,
    /// What new slices should hold.
    pub created: Vec<Vec<Endpoint>>,
    /// Slices that nothing is left in.
    pub emptied: Vec<&'a EndpointSlice>,
}

/// Places a group's endpoints into the `present` slices, which have the group's ports.
pub fn place<'a>(group: &Group, present: Vec<&'a EndpointSlice>) -> Placement<'a> {
    let mut missing: BTreeMap<&str, &Endpoint> = group
        .endpoints
        .iter()
        .map(|endpoint| (identity(endpoint), endpoint))
        .collect();
    let mut slices: Vec<(&EndpointSlice, Vec<Endpoint>)> = Vec::new();
    for slice in present {
        let stays = slice
            .endpoints
            .iter()
            .filter_map(|endpoint| missing.remove(identity(endpoint)).cloned());
        slices.push((slice, stays.collect()));
    }
    let mut rest: Vec<Endpoint> = missing.into_values().cloned().collect();
    // Slices that are written anyway are filled first, then the fullest of the others.
    slices.sort_by_key(|(slice, stays)| {
        let unchanged = slice.endpoints == *stays;
        (
            unchanged,
            stays.len().wrapping_neg(),
            slice.metadata().name.clone(),
        )
    });
    for (_, stays) in &mut slices {
        let room = MAX_ENDPOINTS.saturating_sub(stays.len());
        // An empty slice with only new endpoints is no better than a new one, and saves a deletion.
        stays.extend(rest.drain(..room.min(rest.len())));
    }
    let mut placement = Placement::default();
    for (slice, endpoints) in slices {
        match endpoints.is_empty() {
            true => placement.emptied.push(slice),
            false => placement.kept.push((slice, endpoints)),
        }
    }
    while !rest.is_empty() {
        let later = rest.split_off(rest.len().min(MAX_ENDPOINTS));
        placement.created.push(mem::replace(&mut rest, later));
    }
    placement
}

/// The pod's uid: a new pod of the same name is another endpoint.
fn identity(endpoint: &Endpoint) -> &str {
    &endpoint.target_ref().uid
}
