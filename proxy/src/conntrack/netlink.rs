//! The kernel's connection tracking table, by netlink (linux/netfilter/nfnetlink_conntrack.h).

use super::{EndpointsByFrontend, Frontend};
use crate::service::Protocol;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

const GET: u16 = message_type(1);
const DELETE: u16 = message_type(2);
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const STATUS_MASK: u16 = 26;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PORT_DESTINATION: u16 = 3;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// The bit of an entry's status that says that the other side has answered (IPS_SEEN_REPLY).
const ANSWERED: u32 = 2;
const HEADER_LENGTH: usize = 16;
/// The family, a version and a resource number, which every netfilter message begins with.
const FAMILY_LENGTH: usize = 4;
/// The kernel answers at once; silence means that something is wrong.
const LIMIT: Duration = Duration::from_secs(5);

const fn message_type(number: u16) -> u16 {
    const CONNTRACK_SUBSYSTEM: u16 = 1;
    CONNTRACK_SUBSYSTEM << 8 | number
}

/// Deletes the entries of stale flows and returns how many there were.
pub(super) fn forget_stale(endpoints_by_frontend: &EndpointsByFrontend) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let limit = nix::sys::time::TimeVal::new(LIMIT.as_secs() as i64, 0);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &limit)?;
    let mut found = Vec::new();
    // UDP flows are stale whether they were answered or not. For TCP alone the kernel leaves out those that were,
    // which are nearly all; one that is too old to know the filter tells of all of them.
    let only_tcp = endpoints_by_frontend
        .keys()
        .all(|frontend| frontend.protocol == Protocol::Tcp);
    let filter = match only_tcp {
        true => [attribute(STATUS, 0), attribute(STATUS_MASK, ANSWERED)].concat(),
        false => Vec::new(),
    };
    socket.send(&message(GET, REQUEST | DUMP, &filter), 0)?;
    exchange(&socket, |attributes| {
        if let Some(tuple) = stale(attributes, endpoints_by_frontend) {
            found.push(tuple.to_vec());
        }
    })?;
    for tuple in &found {
        socket.send(&message(DELETE, REQUEST | ACKNOWLEDGE, tuple), 0)?;
        match exchange(&socket, |_| {}) {
            // It ended by itself in the meantime.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => {}
            outcome => outcome?,
        }
    }
    Ok(found.len())
}

/// The whole original tuple's attribute, if the entry is a stale flow.
fn stale<'a>(attributes: &'a [u8], endpoints_by_frontend: &EndpointsByFrontend) -> Option<&'a [u8]> {
    let original = Attributes(attributes).find(|attribute| attribute.kind == TUPLE_ORIGINAL)?;
    let reply = find(attributes, TUPLE_REPLY)?;
    let protocol = find(original.value, TUPLE_PROTOCOL)?;
    let protocol_number = find(protocol, PROTOCOL_NUMBER)?;
    let status = u32::from_be_bytes(find(attributes, STATUS)?.try_into().ok()?);
    let transport = match protocol_number {
        [UDP] => Protocol::Udp,
        [TCP] if status & ANSWERED == 0 => Protocol::Tcp,
        _ => return None,
    };
    let port = u16::from_be_bytes(find(protocol, PORT_DESTINATION)?.try_into().ok()?);
    let destination = address(original.value, IP_DESTINATION)?;
    let endpoints_of = |address| {
        endpoints_by_frontend.get(&Frontend {
            protocol: transport,
            address,
            port,
        })
    };
    let endpoints = endpoints_of(Some(destination)).or_else(|| endpoints_of(None))?;
    let endpoint = address(reply, IP_SOURCE)?;
    (!endpoints.contains(&endpoint)).then_some(original.whole)
}

fn address(tuple: &[u8], kind: u16) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = find(find(tuple, TUPLE_IP)?, kind)?.try_into().ok()?;
    Some(octets.into())
}

fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    Attributes(attributes)
        .find(|attribute| attribute.kind == kind)
        .map(|attribute| attribute.value)
}

/// An attribute whose value is a number in network order.
fn attribute(kind: u16, value: u32) -> Vec<u8> {
    const LENGTH: u16 = 8;
    [
        &LENGTH.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &value.to_be_bytes(),
    ]
    .concat()
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER_LENGTH + FAMILY_LENGTH + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // The sequence number and the sender's port: one request is under way at a time.
    bytes.extend([0; 8]);
    bytes.extend([nix::libc::AF_INET as u8, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// Receives until the kernel says that it is done, or that it failed.
fn exchange(socket: &Socket, mut entry: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while let Some((kind, body, next)) = split_message(rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => return error_of(body),
                _ => entry(body.get(FAMILY_LENGTH..).unwrap_or_default()),
            }
            rest = next;
        }
    }
}

/// The error 0 is an acknowledgement.
fn error_of(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk().map(|code| i32::from_ne_bytes(*code));
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    }
}

fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER_LENGTH..length)?;
    Some((kind, body, bytes.get(aligned(length)..).unwrap_or_default()))
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

struct Attributes<'a>(&'a [u8]);

struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        /// The upper two bits say how the value is written.
        const KIND_MASK: u16 = 0x3fff;
        let bytes = self.0;
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & KIND_MASK;
        let whole = bytes.get(..aligned(length).min(bytes.len()))?;
        let value = bytes.get(4..length)?;
        self.0 = bytes.get(whole.len()..).unwrap_or_default();
        Some(Attribute { kind, value, whole })
    }
}
