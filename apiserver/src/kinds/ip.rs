//! Addresses and CIDRs (apimachinery's util/validation/ip.go, with StrictIPCIDRValidation on).

use super::field::{Errors, Path, quoted};
use super::names::Messages;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address in a field that once took forms that only some parsers read: leading zeros and IPv4 written as
/// IPv6 are refused, unless the object had that very text before.
pub fn validate(value: &str, kept: &[String], path: &Path, errors: &mut Errors) -> bool {
    if kept.iter().any(|old| old == value) {
        return true;
    }
    let fault = fault(value);
    if let Some(fault) = fault {
        errors.invalid(path, value, fault);
    }
    fault.is_none()
}

fn fault(value: &str) -> Option<&'static str> {
    match (parse_sloppy(value), value.parse::<IpAddr>()) {
        (None, _) => Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        (Some(_), Err(_)) => Some("must not have leading 0s"),
        (_, Ok(IpAddr::V6(address))) if address.to_ipv4_mapped().is_some() => {
            Some("must not be an IPv4-mapped IPv6 address")
        }
        _ => None,
    }
}

/// What is wrong with text that has to be an address in its one canonical form: the name of an IPAddress.
pub fn canonical(value: &str) -> Messages {
    if let Some(fault) = fault(value) {
        return vec![fault.to_string()];
    }
    match value.parse::<IpAddr>() {
        Ok(address) if address.to_string() != value => {
            vec![format!("must be in canonical form (\"{address}\")")]
        }
        _ => Messages::new(),
    }
}

/// An address of an endpoint: one that traffic can be sent to.
pub fn validate_endpoint(value: &str, path: &Path, errors: &mut Errors) {
    let Some(address) = parse_sloppy(value) else {
        errors.invalid(path, value, "must be a valid IP address");
        return;
    };
    if address.is_unspecified() {
        errors.invalid(path, value, format!("may not be unspecified ({value})"));
    }
    if address.is_loopback() {
        errors.invalid(
            path,
            value,
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        );
    }
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        errors.invalid(
            path,
            value,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        );
    }
    if link_local_multicast {
        errors.invalid(
            path,
            value,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        );
    }
}

/// An address of an IPv6 endpoint, which must be written in canonical form.
pub fn validate_canonical(value: &str, path: &Path, errors: &mut Errors) -> bool {
    let messages = canonical(value);
    let right = messages.is_empty();
    errors.invalid_each(path, value, messages);
    right
}

/// A CIDR in its one canonical form.
pub fn validate_canonical_cidr(value: &str, path: &Path, errors: &mut Errors) {
    let before = errors.len();
    validate_cidr(value, &[], path, errors);
    if errors.len() > before {
        return;
    }
    if let Some((address, length)) = parse_cidr_sloppy(value) {
        let canonical = format!("{}/{length}", masked(address, length));
        if canonical != value {
            errors.invalid(
                path,
                value,
                format!("must be in canonical form (\"{canonical}\")"),
            );
        }
    }
}

pub fn validate_cidr(value: &str, kept: &[String], path: &Path, errors: &mut Errors) {
    if kept.iter().any(|old| old == value) {
        return;
    }
    let Some(sloppy) = parse_cidr_sloppy(value) else {
        errors.invalid(
            path,
            value,
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        );
        return;
    };
    let (address, length) = value.split_once('/').unwrap_or_default();
    if address.parse::<IpAddr>().is_err() || length.len() > 1 && length.starts_with('0') {
        errors.invalid(path, value, "must not have leading 0s in IP or prefix length");
    } else if matches!(sloppy.0, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        errors.invalid(path, value, "must not have an IPv4-mapped IPv6 address");
    } else if sloppy.0 != masked(sloppy.0, sloppy.1) {
        errors.invalid(path, value, "must not have bits set beyond the prefix length");
    }
}

/// What to say of an address that is taken although it is not written as it should be.
pub fn warning(value: &str, path: &Path) -> Option<String> {
    let meant = parse_sloppy(value)?;
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => {
            let canonical = address.to_string();
            (canonical != value).then(|| {
                format!(
                    "{path}: IPv6 address {} should be in RFC 5952 canonical format ({})",
                    quoted(value),
                    quoted(&canonical)
                )
            })
        }
        Ok(IpAddr::V4(_)) => None,
        Ok(IpAddr::V6(_)) | Err(_) => Some(format!(
            "{path}: non-standard IP address {} is invalid: use {}",
            quoted(value),
            quoted(&meant.to_string())
        )),
    }
}

/// Whether a list of two has one address, or CIDR, of each family.
pub fn is_dual_stack<'a>(values: impl Iterator<Item = &'a str>) -> bool {
    let (mut v4, mut v6) = (false, false);
    for value in values {
        let address = value.split('/').next().unwrap_or_default();
        match parse_sloppy(address) {
            Some(IpAddr::V4(_)) => v4 = true,
            Some(IpAddr::V6(_)) => v6 = true,
            None => return false,
        }
    }
    v4 && v6
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// `None` for what is no CIDR.
pub fn family_of_cidr(value: &str) -> Option<Family> {
    parse_cidr_sloppy(value).map(|(address, _)| match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    })
}

pub fn is_v6(value: &str) -> bool {
    matches!(parse_sloppy(value), Some(IpAddr::V6(_)))
}

pub fn is_v4(value: &str) -> bool {
    matches!(parse_sloppy(value), Some(IpAddr::V4(_)))
}

/// An address as Kubernetes has always read it: leading zeros are decimal.
fn parse_sloppy(value: &str) -> Option<IpAddr> {
    if let Ok(address) = value.parse::<IpAddr>() {
        return Some(match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
            v4 => v4,
        });
    }
    let mut octets = [0u8; 4];
    let mut parts = value.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        *octet = digits
            .then(|| part.trim_start_matches('0'))?
            .parse()
            .or_else(|_| zero(part))
            .ok()?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

fn zero(part: &str) -> Result<u8, ()> {
    if part.bytes().all(|b| b == b'0') {
        Ok(0)
    } else {
        Err(())
    }
}

fn parse_cidr_sloppy(value: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = value.split_once('/')?;
    let strict = address.parse::<IpAddr>().ok();
    let address = strict.or_else(|| parse_sloppy(address))?;
    if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((address, length))
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;

    fn check(judge: impl Fn(&str, &Path, &mut Errors), value: &str, expected: &str) {
        let mut errors = Errors::new();
        judge(value, &Path::new("f"), &mut errors);
        let got = lines(errors.into_causes()).join("|");
        let expected = if expected.is_empty() {
            String::new()
        } else {
            format!("f: Invalid value: {value:?}: {expected}")
        };
        assert_eq!(got, expected, "{value}");
    }

    #[test]
    fn addresses_are_read_strictly() {
        let judge = |value: &str, path: &Path, errors: &mut Errors| {
            validate(value, &["01.2.3.4".into()], path, errors);
        };
        check(judge, "10.0.0.1", "");
        check(judge, "2001:db8::1", "");
        check(judge, "01.2.3.4", "");
        check(judge, "010.0.0.1", "must not have leading 0s");
        check(judge, "::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address");
        check(
            judge,
            "300.1.1.1",
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
        check(
            judge,
            "x",
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
    }

    #[test]
    fn cidrs_are_read_strictly() {
        let judge = |value: &str, path: &Path, errors: &mut Errors| validate_cidr(value, &[], path, errors);
        check(judge, "10.244.0.0/24", "");
        check(judge, "2001:db8::/64", "");
        check(
            judge,
            "10.244.0.0",
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        );
        check(
            judge,
            "10.244.0.0/33",
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        );
        check(
            judge,
            "10.244.0.1/24",
            "must not have bits set beyond the prefix length",
        );
        check(
            judge,
            "10.244.0.0/024",
            "must not have leading 0s in IP or prefix length",
        );
    }

    #[test]
    fn canonical_forms_are_one_for_each_address_and_range() {
        let address = |value: &str, path: &Path, errors: &mut Errors| {
            validate_canonical(value, path, errors);
        };
        check(address, "10.0.0.1", "");
        check(address, "2001:db8::", "");
        check(
            address,
            "2001:DB8:0::",
            "must be in canonical form (\"2001:db8::\")",
        );
        check(validate_canonical_cidr, "10.96.0.0/16", "");
        check(
            validate_canonical_cidr,
            "10.96.0.1/16",
            "must not have bits set beyond the prefix length",
        );
        check(
            validate_canonical_cidr,
            "2001:DB8::/64",
            "must be in canonical form (\"2001:db8::/64\")",
        );
    }

    #[test]
    fn endpoints_are_addresses_that_can_be_sent_to() {
        check(validate_endpoint, "10.0.0.1", "");
        check(
            validate_endpoint,
            "127.0.0.1",
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        );
        check(
            validate_endpoint,
            "169.254.1.1",
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        );
        check(validate_endpoint, "0.0.0.0", "may not be unspecified (0.0.0.0)");
    }
}
