//! The sample application: an HTTP server that says which pod answered.
//!
//! `/` names the pod, `/healthz` is the liveness and `/ready` the readiness probe. After SIGTERM it answers
//! not ready, goes on serving for some seconds so that every proxy can drop it, and then exits. Built with
//! nothing but the standard library into a static binary, so that its image needs no base.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, process, thread};

/// How long it serves after SIGTERM.
const LINGER: Duration = Duration::from_secs(4);
/// A connection that says nothing for this long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// The longest request line or header line.
const MAX_LINE: u64 = 8 << 10;
const SIGTERM: i32 = 15;

static ENDING: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

extern "C" fn on_term(_: i32) {
    ENDING.store(true, Ordering::SeqCst);
}

fn main() {
    // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
    unsafe { signal(SIGTERM, on_term) };
    let port = env::var("PORT").unwrap_or_else(|_| "8080".into());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).unwrap_or_else(|error| {
        eprintln!("cannot listen on port {port}: {error}");
        process::exit(1);
    });
    println!("{} version {} listens on port {port}", pod(), version());
    thread::spawn(|| {
        while !ENDING.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(50));
        }
        println!("SIGTERM: serving for {} s more", LINGER.as_secs());
        thread::sleep(LINGER);
        process::exit(0);
    });
    for connection in listener.incoming().flatten() {
        thread::spawn(move || serve(connection));
    }
}

fn pod() -> String {
    env::var("POD_NAME").or_else(|_| env::var("HOSTNAME")).unwrap_or_else(|_| "unknown".into())
}

fn version() -> String {
    env::var("VERSION").unwrap_or_else(|_| "1".into())
}

fn serve(connection: TcpStream) {
    let _ = connection.set_read_timeout(Some(IDLE));
    let _ = connection.set_nodelay(true);
    let Ok(mut writer) = connection.try_clone() else { return };
    let mut reader = BufReader::new(connection);
    while let Some((path, keep)) = request(&mut reader) {
        let (status, body) = match path.as_str() {
            "/" => ("200 OK", format!("hello from {} version {}\n", pod(), version())),
            "/healthz" => ("200 OK", "ok\n".into()),
            "/ready" if ENDING.load(Ordering::SeqCst) => ("503 Service Unavailable", "ending\n".into()),
            "/ready" => ("200 OK", "ready\n".into()),
            _ => ("404 Not Found", "not found\n".into()),
        };
        // A client that keeps its connection is sent elsewhere while this pod ends.
        let keep = keep && !ENDING.load(Ordering::SeqCst);
        let connection = if keep { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        if writer.write_all(format!("{head}{body}").as_bytes()).is_err() || !keep {
            return;
        }
    }
}

/// The path of the next request, and whether the client wants to keep the connection.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, bool)> {
    let first = line(reader)?;
    let mut words = first.split_whitespace();
    let (_method, path, protocol) = (words.next()?, words.next()?, words.next()?);
    let mut keep = protocol == "HTTP/1.1";
    loop {
        let header = line(reader)?.to_ascii_lowercase();
        match header.trim_end() {
            "" => return Some((path.split('?').next()?.to_string(), keep)),
            "connection: close" => keep = false,
            "connection: keep-alive" => keep = true,
            _ => {}
        }
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut text = String::new();
    let length = reader.by_ref().take(MAX_LINE).read_line(&mut text).ok()?;
    (length > 0).then_some(text)
}
