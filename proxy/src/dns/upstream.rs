//! The servers that know all other domains.

use super::reply::Transport;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Servers that resolv.conf may name (resolv.conf(5), MAXNS).
const MAX_SERVERS: usize = 3;
const TRIES: usize = 2;
/// One try.
const TRY_LIMIT: Duration = Duration::from_millis(1500);
/// All tries: a resolver's own patience is 5 seconds, after which nobody waits for the answer.
const LIMIT: Duration = Duration::from_millis(4500);
/// resolv.conf changes when the host joins another network.
const REREAD_AFTER: Duration = Duration::from_secs(5);
/// The longest UDP message that anybody sends.
const MAX_MESSAGE_BYTES: usize = u16::MAX as usize;

#[derive(Clone)]
pub struct Upstreams {
    shared: Arc<Shared>,
}

struct Shared {
    source: Source,
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

enum Source {
    ResolvConf {
        path: PathBuf,
        /// Our own address: asking ourselves would never end.
        own: Ipv4Addr,
    },
    Fixed(Vec<SocketAddr>),
}

impl Upstreams {
    /// The servers that a resolv.conf names, whenever it changes, except `own`.
    pub fn new(path: PathBuf, own: Ipv4Addr) -> Upstreams {
        Upstreams::from(Source::ResolvConf { path, own })
    }

    /// These servers.
    pub fn of(servers: Vec<SocketAddr>) -> Upstreams {
        Upstreams::from(Source::Fixed(servers))
    }

    fn from(source: Source) -> Upstreams {
        Upstreams {
            shared: Arc::new(Shared {
                source,
                read: Mutex::default(),
            }),
        }
    }

    /// The reply of the first server that gives one; `None` when none does in time.
    pub async fn ask(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let servers = self.servers(Instant::now());
        let tries = async {
            for server in servers.iter().cycle().take(servers.len() * TRIES) {
                let asked = async {
                    match transport {
                        Transport::Udp => by_udp(*server, request).await,
                        Transport::Tcp => by_tcp(*server, request).await,
                    }
                };
                match timeout(TRY_LIMIT, asked).await {
                    Ok(Ok(reply)) => return Some(reply),
                    Ok(Err(error)) => {
                        tracing::debug!(address = %server, %error, "DNS server cannot be asked")
                    }
                    Err(_) => tracing::debug!(address = %server, "DNS server does not answer"),
                }
            }
            None
        };
        timeout(LIMIT, tries).await.ok().flatten()
    }

    fn servers(&self, now: Instant) -> Vec<SocketAddr> {
        let (path, own) = match &self.shared.source {
            Source::ResolvConf { path, own } => (path, *own),
            Source::Fixed(servers) => return servers.clone(),
        };
        let mut read = self.shared.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, servers)) = read
            .as_ref()
            .filter(|(at, _)| now.duration_since(*at) < REREAD_AFTER)
        {
            return servers.clone();
        }
        let servers = servers(&std::fs::read_to_string(path).unwrap_or_default(), own);
        *read = Some((now, servers.clone()));
        servers
    }
}

/// The name servers of a resolv.conf, without ourselves.
fn servers(resolv_conf: &str, own: Ipv4Addr) -> Vec<SocketAddr> {
    let lines = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok());
    addresses
        .filter(|address| *address != own)
        .take(MAX_SERVERS)
        .map(|address| (address, 53).into())
        .collect()
}

async fn by_udp(server: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Only this server's packets arrive then.
    socket.connect(server).await?;
    socket.send(request).await?;
    let mut buffer = vec![0; MAX_MESSAGE_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if is_reply_to(request, &buffer[..length]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_tcp(server: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(request.len()).map_err(std::io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), request].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await?;
    match is_reply_to(request, &reply) {
        true => Ok(reply),
        false => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Whether the identifier is the request's, and the message a reply.
fn is_reply_to(request: &[u8], reply: &[u8]) -> bool {
    const RESPONSE_BIT: u8 = 0x80;
    request.get(..2) == reply.get(..2) && reply.get(2).is_some_and(|flags| flags & RESPONSE_BIT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_at_most_three_servers_and_never_ourselves() {
        let own = Ipv4Addr::new(169, 254, 20, 10);
        let check = |text: &str, expected: &[&str]| {
            let servers: Vec<String> = servers(text, own).iter().map(SocketAddr::to_string).collect();
            assert_eq!(servers, expected, "{text:?}");
        };
        check("", &[]);
        check(
            "# nameserver 1.1.1.1\nsearch a.example\nnameserver 192.0.2.1\n",
            &["192.0.2.1:53"],
        );
        check(
            "nameserver 169.254.20.10\n nameserver\t192.0.2.1 # the router\n",
            &["192.0.2.1:53"],
        );
        check("nameserver fd00::1\nnameserver nonsense\n", &["[fd00::1]:53"]);
        let four = "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4\n";
        check(four, &["1.0.0.1:53", "1.0.0.2:53", "1.0.0.3:53"]);
    }

    #[test]
    fn only_a_message_with_the_same_identifier_that_is_a_reply_is_the_reply() {
        let request = [1, 2, 0x01, 0, 9];
        assert!(is_reply_to(&request, &[1, 2, 0x81, 0]));
        for other in [&[1, 3, 0x81, 0][..], &[1, 2, 0x01, 0], &[1, 2], &[]] {
            assert!(!is_reply_to(&request, other), "{other:?}");
        }
    }
}
