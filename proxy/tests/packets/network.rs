//! A node with a bridge and pods on it, and a client outside, each in a network namespace of its own that ends
//! with its thread.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket,
    sockopt,
};

pub const POD_PORT: u16 = 8080;
const PODS: usize = 3;
/// Longer than any answer takes on a busy machine; a lost packet fails the test after it.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Network {
    pub node: Namespace,
    pub pods: Vec<Namespace>,
    pub client: Namespace,
}

impl Network {
    pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
    pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);

    pub fn new(bridge_is_filtered: bool) -> Network {
        let node = Namespace::new();
        let client = Namespace::new();
        let pods: Vec<Namespace> = (0..PODS).map(|_| Namespace::new()).collect();
        node.run(move || {
            ip("link add br0 type bridge");
            write("/proc/sys/net/ipv4/ip_forward", "1");
            write(
                "/proc/sys/net/bridge/bridge-nf-call-iptables",
                if bridge_is_filtered { "1" } else { "0" },
            );
            ip(&format!("addr add {}/24 dev br0", Network::GATEWAY));
            ip("link set br0 up");
        });
        node.connect(&client, "uplink", Network::CLIENT, Network::NODE);
        node.run(|| {
            ip(&format!("addr add {}/24 dev uplink", Network::NODE));
            ip("link set uplink up");
            // A machine has a way out; without one, the kernel refuses before any rule is asked.
            ip(&format!("route add default via {}", Network::CLIENT));
        });
        for (number, pod) in pods.iter().enumerate() {
            let name = format!("pod{number}");
            node.connect(pod, &name, Network::pod_address(number), Network::GATEWAY);
            node.run(move || {
                ip(&format!("link set {name} master br0"));
                // As a CNI bridge with `hairpinMode` does: a filtered bridge carries a translated packet on
                // itself, and then also back to where it came from.
                ip(&format!("link set {name} type bridge_slave hairpin on"));
                ip(&format!("link set {name} up"));
            });
            pod.run(move || serve(&Network::pod_name(number)));
        }
        Network { node, pods, client }
    }

    pub fn pod_address(number: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, 1, 10 + number as u8)
    }

    pub fn pod_name(number: usize) -> String {
        format!("pod-{number}")
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own.
pub struct Namespace {
    jobs: mpsc::Sender<Job>,
    thread: nix::unistd::Pid,
}

impl Namespace {
    fn new() -> Namespace {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
            ip("link set lo up");
            ready.send(nix::unistd::gettid()).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        Namespace {
            jobs,
            thread: started.recv().expect("the namespace's thread ended"),
        }
    }

    /// Runs `job` inside, and returns what it returns. Threads and processes that it starts are inside too.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, outcome) = mpsc::channel();
        self.jobs
            .send(Box::new(move || drop(done.send(job()))))
            .expect("the namespace's thread ended");
        outcome.recv().expect("the job panicked")
    }

    /// Joins two namespaces by a cable: `name` here, `eth0` with an address and a default route there.
    fn connect(&self, other: &Namespace, name: &str, address: Ipv4Addr, gateway: Ipv4Addr) {
        let (name, thread) = (name.to_owned(), other.thread);
        self.run(move || {
            ip(&format!(
                "link add {name} type veth peer name eth0 netns {thread}"
            ))
        });
        other.run(move || {
            ip(&format!("addr add {address}/24 dev eth0"));
            ip("link set eth0 up");
            ip(&format!("route add default via {gateway}"));
        });
    }
}

/// Answers by TCP with the pod's name and the client's address, by UDP with the pod's name.
fn serve(name: &str) {
    let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, POD_PORT)).unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, POD_PORT)).unwrap();
    let text = name.to_owned();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = tcp.accept() {
            let _ = write!(stream, "{text} {}", peer.ip());
        }
    });
    let text = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(text.as_bytes(), peer);
        }
    });
}

/// Makes the namespace as silent as a machine that is gone: nothing that comes to a pod's port is answered.
pub fn answer_nothing() {
    output("nft", &["add", "table", "ip", "silent"]);
    let hook = "{ type filter hook input priority 0; }";
    output("nft", &["add", "chain", "ip", "silent", "arriving", hook]);
    let port = POD_PORT.to_string();
    output(
        "nft",
        &[
            "add", "rule", "ip", "silent", "arriving", "tcp", "dport", &port, "counter", "drop",
        ],
    );
}

/// How many packets [`answer_nothing`] has kept from an answer.
pub fn packets_not_answered() -> u64 {
    let listed = output("nft", &["list", "table", "ip", "silent"]);
    let mut words = listed
        .split_whitespace()
        .skip_while(|word| *word != "packets")
        .skip(1);
    words.next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

pub fn ask_by_tcp(to: (Ipv4Addr, u16)) -> std::io::Result<(String, Ipv4Addr)> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(to), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (name, source) = text.split_once(' ').unwrap();
    match source.parse().unwrap() {
        IpAddr::V4(source) => Ok((name.to_owned(), source)),
        IpAddr::V6(_) => panic!("{text}"),
    }
}

/// The name of the pod that answers, to a sender whose port may be given.
pub fn ask_by_udp(to: (Ipv4Addr, u16), port: Option<u16>) -> std::io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port.unwrap_or(0)))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub const SYN: u8 = 0x02;
/// No connection has both; connection tracking calls it invalid.
pub const SYN_AND_FIN: u8 = 0x03;

/// Sends TCP headers with these source ports and flags, one after the other. Returns the source ports for which a
/// reset comes, up to that for the last.
pub fn resets(from: Ipv4Addr, segments: &[(u16, (Ipv4Addr, u16), u8)]) -> Vec<u16> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::Tcp,
    )
    .unwrap();
    let limit = nix::sys::time::TimeVal::new(PATIENCE.as_secs() as i64, 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &limit).unwrap();
    for (source_port, (to, port), flags) in segments {
        let segment = segment((from, *source_port), (*to, *port), *flags);
        let to = SockaddrIn::from(SocketAddrV4::new(*to, 0));
        sendto(socket.as_raw_fd(), &segment, &to, MsgFlags::empty()).unwrap();
    }
    let mut reset = Vec::new();
    while reset.last() != segments.last().map(|(port, ..)| port) {
        let mut packet = [0; 128];
        let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()).expect("no reset comes");
        let header = &packet[usize::from(packet[0] & 0xf) * 4..length];
        const RST: u8 = 0x04;
        if header[13] & RST != 0 {
            reset.push(u16::from_be_bytes([header[2], header[3]]));
        }
    }
    reset
}

/// A TCP header (RFC 9293, section 3.1) with its checksum.
fn segment(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), flags: u8) -> Vec<u8> {
    const LENGTH: u8 = 20;
    const TCP: u8 = 6;
    let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    let rest = [
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        (LENGTH / 4) << 4,
        flags,
        0x20,
        0,
        0,
        0,
        0,
        0,
    ];
    let mut segment = [ports, rest.to_vec()].concat();
    let (source, destination) = (from.0.octets(), to.0.octets());
    let summed = [&source[..], &destination, &[0, TCP, 0, LENGTH], &segment].concat();
    let words = summed
        .chunks(2)
        .map(|pair| (u32::from(pair[0]) << 8) | u32::from(pair[1]));
    let sum = words.fold(0, |sum, word| (sum + word) % 0xffff);
    let checksum = !(sum as u16);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    // One thread, so that everything happens in the namespace of this one.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

pub fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("cannot run {program}: {error} (see the README's packages)"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ip(arguments: &str) {
    output("ip", &arguments.split(' ').collect::<Vec<_>>());
}

fn write(path: &str, value: &str) {
    let written = File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    written.unwrap_or_else(|error| panic!("{path}: {error}"));
}
