use super::*;
use proptest::prelude::*;

fn endpoint(number: u8) -> Endpoint {
    Endpoint {
        address: Ipv4Addr::new(10, 0, 0, number),
        port: 80,
        local: false,
    }
}

fn places(endpoints: &[Endpoint]) -> Vec<u8> {
    endpoints
        .iter()
        .map(|endpoint| endpoint.address.octets()[3])
        .collect()
}

#[test]
fn who_stays_keeps_its_place_as_far_as_it_can() {
    let check = |old: &[u8], wanted: &[u8], expected: &[u8]| {
        let old: Vec<Endpoint> = old.iter().copied().map(endpoint).collect();
        let wanted = wanted.iter().copied().map(endpoint).collect();
        assert_eq!(places(&arrange(&old, &wanted)), expected, "{old:?} {wanted:?}");
    };
    check(&[], &[2, 1], &[1, 2]);
    check(&[3, 1, 2], &[1, 2, 3], &[3, 1, 2]);
    check(&[1, 2, 3], &[1, 3, 4], &[1, 4, 3]);
    check(&[1, 2, 3], &[2, 3], &[3, 2]);
    check(&[1, 2, 3, 4], &[3, 4], &[4, 3]);
    check(&[1, 2, 3], &[3], &[3]);
    check(&[1, 2], &[], &[]);
    check(&[1, 2], &[2, 3, 4, 5], &[3, 2, 4, 5]);
}

proptest! {
    #[test]
    fn every_wanted_endpoint_has_one_place(
        old in proptest::collection::btree_set(0_u8..12, 0..12),
        wanted in proptest::collection::btree_set(0_u8..12, 0..12),
    ) {
        let old_places: Vec<Endpoint> = old.iter().rev().copied().map(endpoint).collect();
        let wanted_endpoints: BTreeSet<Endpoint> = wanted.iter().copied().map(endpoint).collect();
        let arranged = arrange(&old_places, &wanted_endpoints);
        prop_assert_eq!(arranged.len(), wanted.len());
        prop_assert_eq!(arranged.iter().copied().collect::<BTreeSet<_>>(), wanted_endpoints.clone());
        // Only as many move as the end became shorter.
        let moved = arranged.iter().zip(&old_places).filter(|(new, old)| new != old);
        let moved = moved.filter(|(new, _)| old_places.contains(new)).count();
        prop_assert!(moved <= old.len().saturating_sub(wanted.len()));
    }
}

#[test]
fn a_block_is_used_again_only_after_its_port_is_gone() {
    let mut topology = Topology::default();
    let port = |number| Port {
        name: String::new(),
        protocol: Protocol::Tcp,
        number,
        node_port: None,
        endpoints: BTreeSet::from([endpoint(1)]),
    };
    let view = |numbers: &[u16]| ServiceView {
        cluster_ips: vec![Ipv4Addr::new(10, 96, 0, 1)],
        ports: numbers.iter().copied().map(port).collect(),
        ..ServiceView::default()
    };
    let mut blocks = |name: &str, numbers: &[u16]| {
        let replaced = topology.replace(&Key::new("default", name), Some(&view(numbers)));
        replaced
            .new
            .unwrap()
            .ports
            .iter()
            .map(|port| port.block)
            .collect::<Vec<_>>()
    };
    assert_eq!(blocks("a", &[80, 81]), [0, 1]);
    assert_eq!(blocks("b", &[80]), [2]);
    assert_eq!(blocks("a", &[81]), [1]);
    assert_eq!(blocks("b", &[80, 82]), [2, 0]);
}

#[test]
fn the_last_place_of_the_last_block_is_a_32_bit_number() {
    assert_eq!(
        (BLOCKS - 1)
            .checked_mul(BLOCK_SIZE)
            .and_then(|first| first.checked_add(BLOCK_SIZE - 1)),
        Some(u32::MAX)
    );
}
