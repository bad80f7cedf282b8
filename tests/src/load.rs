//! HTTP load from inside a network namespace, which counts every request that fails.

use crate::network;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request that takes longer has failed.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How many failures are kept to be shown.
const SHOWN_FAILURES: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// One connection for as long as the server keeps it.
    KeepAlive,
    /// A new connection for each request.
    New,
}

/// Requests under way in the background.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
}

#[derive(Debug, Default)]
pub struct Report {
    pub requests: usize,
    pub failures: Vec<String>,
    /// How often each body was answered.
    pub answers: BTreeMap<String, usize>,
}

impl Load {
    /// Requests `/` of `address` again and again, from the network namespace at `namespace_path`, with a
    /// pause between two.
    pub fn start(
        namespace_path: String,
        address: SocketAddr,
        connections: Connections,
        pause: Duration,
    ) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut report = Report::default();
            if let Err(error) = network::enter(&namespace_path) {
                report.failures.push(error.to_string());
                return report;
            }
            let mut connection = None;
            while !ended.load(Ordering::Relaxed) {
                report.requests += 1;
                match request(&mut connection, address, connections) {
                    Ok(body) => *report.answers.entry(body).or_default() += 1,
                    Err(why) if report.failures.len() < SHOWN_FAILURES => {
                        report
                            .failures
                            .push(format!("request {}: {why}", report.requests));
                    }
                    Err(_) => {}
                }
                std::thread::sleep(pause);
            }
            report
        });
        Load { stop, thread }
    }

    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// One request from the calling thread's network namespace.
pub fn get(address: SocketAddr) -> Result<String, String> {
    request(&mut None, address, Connections::New)
}

fn request(
    kept: &mut Option<BufReader<TcpStream>>,
    address: SocketAddr,
    connections: Connections,
) -> Result<String, String> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => connect(address)?,
    };
    let wish = if connections == Connections::KeepAlive {
        "keep-alive"
    } else {
        "close"
    };
    let head = format!("GET / HTTP/1.1\r\nHost: web\r\nConnection: {wish}\r\n\r\n");
    connection
        .get_mut()
        .write_all(head.as_bytes())
        .map_err(|error| format!("sending: {error}"))?;
    let (body, keep) = response(&mut connection)?;
    if keep && connections == Connections::KeepAlive {
        *kept = Some(connection);
    }
    Ok(body)
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>, String> {
    let stream = TcpStream::connect_timeout(&address, REQUEST_LIMIT)
        .map_err(|error| format!("connecting: {error}"))?;
    stream
        .set_read_timeout(Some(REQUEST_LIMIT))
        .map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(BufReader::new(stream))
}

/// The body, and whether the server keeps the connection.
fn response(connection: &mut BufReader<TcpStream>) -> Result<(String, bool), String> {
    let mut line = String::new();
    let mut read_line = |connection: &mut BufReader<TcpStream>| {
        line.clear();
        match connection.read_line(&mut line) {
            Ok(0) => Err("the server closed the connection without an answer".to_string()),
            Ok(_) => Ok(line.trim_end().to_string()),
            Err(error) => Err(format!("receiving: {error}")),
        }
    };
    let status = read_line(connection)?;
    let (mut length, mut keep) = (0, true);
    loop {
        let header = read_line(connection)?.to_ascii_lowercase();
        match header.split_once(':') {
            None => break,
            Some(("content-length", value)) => length = value.trim().parse().map_err(|_| "bad length")?,
            Some(("connection", value)) => keep = value.trim() != "close",
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    connection
        .read_exact(&mut body)
        .map_err(|error| format!("receiving: {error}"))?;
    if !status.contains(" 200 ") {
        return Err(status);
    }
    Ok((String::from_utf8_lossy(&body).trim_end().to_string(), keep))
}
