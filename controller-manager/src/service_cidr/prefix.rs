//! A network by its address and length, and what is in it.

use std::net::IpAddr;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    is_ipv4: bool,
    /// The network's address; of IPv4 the lower 32 bits.
    first: u128,
    last: u128,
}

/// It is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPrefix;

impl FromStr for Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Prefix, NoPrefix> {
        let (address, length) = text.split_once('/').ok_or(NoPrefix)?;
        let address: IpAddr = address.parse().map_err(|_| NoPrefix)?;
        let length: u32 = length.parse().map_err(|_| NoPrefix)?;
        let host_bits = width(address).checked_sub(length).ok_or(NoPrefix)?;
        let hosts = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        let first = number(address) & !hosts;
        Ok(Prefix {
            is_ipv4: address.is_ipv4(),
            first,
            last: first | hosts,
        })
    }
}

impl Prefix {
    /// Whether every address of the other is one of this.
    pub fn covers(self, other: Prefix) -> bool {
        self.is_ipv4 == other.is_ipv4 && self.first <= other.first && other.last <= self.last
    }

    /// Whether the address is given from this network: neither the first is, nor, of IPv4, the last.
    pub fn offers(self, address: IpAddr) -> bool {
        let number = number(address);
        let is_inside = self.is_ipv4 == address.is_ipv4() && (self.first..=self.last).contains(&number);
        is_inside && number != self.first && !(self.is_ipv4 && number == self.last)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_covers_its_parts_and_offers_all_but_its_ends() {
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        let covers = |one: &str, other: &str| prefix(one).covers(prefix(other));
        assert!(covers("10.0.0.0/8", "10.1.0.0/16") && covers("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!covers("10.1.0.0/16", "10.0.0.0/8") && !covers("::/0", "10.0.0.0/8"));
        assert!(covers("0.0.0.0/0", "10.0.0.0/8") && covers("::/0", "2001:db8::/64"));
        let offers = |text: &str, address: &str| prefix(text).offers(address.parse().unwrap());
        assert!(offers("10.1.0.0/24", "10.1.0.1") && offers("10.1.0.0/24", "10.1.0.254"));
        assert!(!offers("10.1.0.0/24", "10.1.0.0") && !offers("10.1.0.0/24", "10.1.0.255"));
        assert!(offers("2001:db8::/120", "2001:db8::ff") && !offers("2001:db8::/120", "2001:db8::"));
        assert!(!offers("10.1.0.7/32", "10.1.0.7"));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Prefix>(), Err(NoPrefix), "{bad}");
        }
    }
}
