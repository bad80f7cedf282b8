//! The ranges from which addresses and ports are given.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use rand::{Rng, RngExt as _};

use super::Holding;

/// What may be given to Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    pub addresses: Cidr,
    pub ports: RangeInclusive<u16>,
}

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: u32,
    bits: u32,
}

/// Addresses that are not given by chance but kept for those who choose one
/// (pkg/registry/core/service/ipallocator, calculateRangeOffset): a sixteenth of the range, 16 at least and 256 at
/// most, none of a range that is smaller than that.
fn chosen_only(size: u32) -> u32 {
    const LEAST: u32 = 16;
    const MOST: u32 = 256;
    if size <= LEAST {
        0
    } else {
        (size / 16).clamp(LEAST, MOST)
    }
}

impl Cidr {
    /// How many addresses there are to give: not the network's own and not its broadcast address.
    fn size(self) -> u32 {
        let all = 1u64 << (32 - self.bits);
        u32::try_from(all.saturating_sub(2)).unwrap_or(u32::MAX)
    }

    fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.wrapping_add(1).wrapping_add(offset))
    }

    fn contains(self, address: Ipv4Addr) -> bool {
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
            Holding::Address(address) => self.addresses.contains(*address),
            Holding::Port(port) => self.ports.contains(port),
        }
    }

    /// The address of the apiserver's own Service.
    pub fn first_address(&self) -> Ipv4Addr {
        self.addresses.address(0)
    }

    /// An address at random; the first, which is the apiserver's own Service's, is never among them.
    pub fn random_address(&self, taken: impl Fn(&Holding) -> bool, rng: &mut impl Rng) -> Option<Ipv4Addr> {
        let size = self.addresses.size();
        let (reserved, first) = (chosen_only(size), 1.min(size));
        let address = |offset| self.addresses.address(offset);
        let free = |offset: &u32| !taken(&Holding::Address(address(*offset)));
        pick(reserved.max(first)..size, &free, rng)
            .or_else(|| pick(first..reserved, &free, rng))
            .map(address)
    }

    pub fn random_port(&self, taken: impl Fn(&Holding) -> bool, rng: &mut impl Rng) -> Option<u16> {
        let (first, last) = (u32::from(*self.ports.start()), u32::from(*self.ports.end()));
        let port = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        pick(
            first..last + 1,
            &|number| !taken(&Holding::Port(port(*number))),
            rng,
        )
        .map(port)
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
            addresses: parse_cidr(cidr).unwrap(),
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
