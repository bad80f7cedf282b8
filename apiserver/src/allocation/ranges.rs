//! The ranges from which addresses and ports are given.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use rand::{Rng, RngExt as _};

use super::Holding;

/// What may be given to Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// Addresses are given from any of them.
    pub networks: Vec<Cidr>,
    pub ports: RangeInclusive<u16>,
}

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: u32,
    bits: u32,
}

/// How many of a range's numbers are not given by chance but kept for those who choose one, until nothing else is left
/// (KEP-3070 and KEP-3668): a part of the range, but neither very few nor very many, and none of a small range.
struct ChosenOnly {
    least: u32,
    most: u32,
    one_of: u32,
}

/// pkg/registry/core/service/ipallocator, calculateRangeOffset.
const CHOSEN_ADDRESSES: ChosenOnly = ChosenOnly {
    least: 16,
    most: 256,
    one_of: 16,
};
/// pkg/registry/core/service/portallocator, calculateRangeOffset.
const CHOSEN_PORTS: ChosenOnly = ChosenOnly {
    least: 16,
    most: 128,
    one_of: 32,
};

impl ChosenOnly {
    fn of(&self, size: u32) -> u32 {
        if size <= self.least {
            0
        } else {
            (size / self.one_of).clamp(self.least, self.most)
        }
    }
}

impl Cidr {
    /// The network that a ServiceCIDR names; `None` for one of IPv6, from which nothing is given.
    pub fn of_object(text: &str) -> Option<Cidr> {
        let (network, bits) = text.split_once('/')?;
        let network: Ipv4Addr = network.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        Some(Cidr {
            network: network.to_bits() & mask,
            bits,
        })
    }

    /// All its addresses, those included that are never given.
    fn all(self) -> u64 {
        1u64 << (32 - self.bits)
    }

    /// How many addresses there are to give: not the network's own and not its broadcast address.
    fn size(self) -> u32 {
        u32::try_from(self.all().saturating_sub(2)).unwrap_or(u32::MAX)
    }

    fn kept_for_choice(self) -> u32 {
        let all = u32::try_from(self.all()).unwrap_or(u32::MAX);
        CHOSEN_ADDRESSES.of(all).min(self.size())
    }

    fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.wrapping_add(1).wrapping_add(offset))
    }

    /// Whether the address may be given to a Service.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let offset = address.to_bits().wrapping_sub(self.network).wrapping_sub(1);
        offset < self.size()
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from_bits(self.network), self.bits)
    }
}

impl Ranges {
    pub fn contain(&self, holding: &Holding) -> bool {
        match holding {
            Holding::Address(address) => self.networks.iter().any(|network| network.contains(*address)),
            Holding::Port(port) => self.ports.contains(port),
        }
    }

    /// An address at random; a network's first, which is that of the apiserver's own Service, is never among them.
    pub fn random_address(&self, taken: impl Fn(&Holding) -> bool, rng: &mut impl Rng) -> Option<Ipv4Addr> {
        let mut within = |network: &Cidr, offsets: std::ops::Range<u32>| {
            let free = |offset: &u32| !taken(&Holding::Address(network.address(*offset)));
            pick(offsets, &free, rng).map(|offset| network.address(offset))
        };
        let mut networks = self.networks.iter();
        networks
            .find_map(|network| within(network, network.kept_for_choice().max(1)..network.size()))
            .or_else(|| {
                let mut networks = self.networks.iter();
                networks.find_map(|network| within(network, 1..network.kept_for_choice()))
            })
    }

    pub fn random_port(&self, taken: impl Fn(&Holding) -> bool, rng: &mut impl Rng) -> Option<u16> {
        let (first, last) = (u32::from(*self.ports.start()), u32::from(*self.ports.end()));
        let chosen = first + CHOSEN_PORTS.of(last + 1 - first);
        let port = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let free = |number: &u32| !taken(&Holding::Port(port(*number)));
        pick(chosen..last + 1, &free, rng)
            .or_else(|| pick(first..chosen, &free, rng))
            .map(port)
    }

    /// The ports as Kubernetes' messages name them.
    pub fn shown_ports(&self) -> String {
        format!("{}-{}", self.ports.start(), self.ports.end())
    }
}

impl Cidr {
    /// The address of the apiserver's own Service.
    pub fn first_address(self) -> Ipv4Addr {
        self.address(0)
    }

    /// What a dry run shows as the address that chance would give (ipallocator's dry run).
    pub fn network_address(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network)
    }
}

/// The first free number of a range behind a random place.
fn pick(range: std::ops::Range<u32>, free: &impl Fn(&u32) -> bool, rng: &mut impl Rng) -> Option<u32> {
    if range.is_empty() {
        return None;
    }
    let start = rng.random_range(range.clone());
    (start..range.end)
        .chain(range.start..start)
        .find(|number| free(number))
}

/// Reads `10.96.0.0/12`.
pub fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let wrong = || format!("{text:?} is not an IPv4 network such as 10.96.0.0/12");
    let (network, bits) = text.split_once('/').ok_or_else(wrong)?;
    let network: Ipv4Addr = network.parse().map_err(|_| wrong())?;
    let bits: u32 = bits.parse().map_err(|_| wrong())?;
    if !(8..=30).contains(&bits) {
        return Err(format!("{text:?}: the network must have between 8 and 30 bits"));
    }
    let mask = u32::MAX << (32 - bits);
    let cidr = Cidr {
        network: network.to_bits() & mask,
        bits,
    };
    if network.to_bits() != cidr.network {
        return Err(format!("{text:?} is not the start of the network {cidr}"));
    }
    Ok(cidr)
}

/// Reads `30000-32767`.
pub fn parse_port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("{text:?} is not a range of ports such as 30000-32767");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last): (u16, u16) = (
        first.parse().map_err(|_| wrong())?,
        last.parse().map_err(|_| wrong())?,
    );
    if first == 0 || first > last {
        Err(wrong())
    } else {
        Ok(first..=last)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn ranges(cidr: &str) -> Ranges {
        Ranges {
            networks: vec![parse_cidr(cidr).unwrap()],
            ports: 30000..=30002,
        }
    }

    #[test]
    fn addresses_are_given_from_the_upper_part_until_it_is_full() {
        let ranges = ranges("10.96.0.0/24");
        let mut rng = StdRng::seed_from_u64(7);
        let mut given = std::collections::BTreeSet::new();
        for count in 0..253 {
            let address = ranges
                .random_address(|holding| given.contains(holding), &mut rng)
                .unwrap();
            assert!(ranges.contain(&Holding::Address(address)) && address != Ipv4Addr::new(10, 96, 0, 1));
            assert_eq!(
                address.octets()[3] > 16,
                count < 238,
                "{address} as number {count}"
            );
            assert!(given.insert(Holding::Address(address)));
        }
        assert_eq!(
            ranges.random_address(|holding| given.contains(holding), &mut rng),
            None
        );
    }

    #[test]
    fn another_network_adds_addresses() {
        let mut ranges = ranges("10.96.0.0/30");
        let mut rng = StdRng::seed_from_u64(7);
        let first = Holding::Address([10, 96, 0, 2].into());
        let random =
            |ranges: &Ranges, rng: &mut StdRng| ranges.random_address(|holding| *holding == first, rng);
        assert_eq!(random(&ranges, &mut rng), None);
        ranges.networks.extend(Cidr::of_object("10.1.0.0/30"));
        assert_eq!(random(&ranges, &mut rng), Some([10, 1, 0, 2].into()));
        assert_eq!(Cidr::of_object("fd00::/112"), None);
    }

    #[test]
    fn the_lower_part_of_a_range_is_given_last() {
        for (size, kept) in [(16, 0), (17, 16), (256, 16), (512, 32), (1 << 20, 256)] {
            assert_eq!(CHOSEN_ADDRESSES.of(size), kept, "of {size} addresses");
        }
        for (size, kept) in [(16, 0), (100, 16), (2768, 86), (65535, 128)] {
            assert_eq!(CHOSEN_PORTS.of(size), kept, "of {size} ports");
        }
        let ranges = Ranges {
            networks: Vec::new(),
            ports: 30000..=30031,
        };
        let mut rng = StdRng::seed_from_u64(7);
        let mut given = std::collections::BTreeSet::new();
        while let Some(port) = ranges.random_port(|holding| given.contains(holding), &mut rng) {
            assert_eq!(
                port >= 30016,
                given.len() < 16,
                "{port} as number {}",
                given.len()
            );
            assert!(given.insert(Holding::Port(port)));
        }
        assert_eq!(given.len(), 32);
    }

    #[test]
    fn ports_are_given_until_the_range_is_full() {
        let (ranges, mut rng) = (ranges("10.96.0.0/12"), StdRng::seed_from_u64(7));
        let mut given = std::collections::BTreeSet::new();
        while let Some(port) = ranges.random_port(|holding| given.contains(holding), &mut rng) {
            assert!(given.insert(Holding::Port(port)));
        }
        assert_eq!(given.len(), 3);
    }

    #[test]
    fn only_whole_networks_and_ordered_port_ranges_are_read() {
        for text in [
            "10.96.0.0",
            "10.96.0.1/12",
            "10.96.0.0/31",
            "10.0.0.0/7",
            "x/8",
            "fd00::/64",
        ] {
            assert!(parse_cidr(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_cidr("10.96.0.0/12").map(|cidr| cidr.to_string()),
            Ok("10.96.0.0/12".into())
        );
        for text in ["30000", "2-1", "0-5", "1-70000"] {
            assert!(parse_port_range(text).is_err(), "{text}");
        }
    }
}
