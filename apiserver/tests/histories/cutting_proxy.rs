//! A TCP proxy that cuts each connection after a random number of bytes.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How rough it is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sea {
    Calm,
    Rough,
}

pub struct CuttingProxy {
    address: SocketAddr,
    sea: watch::Sender<Sea>,
    /// Connections that were cut.
    pub cuts: Arc<AtomicUsize>,
    accepting: tokio::task::AbortHandle,
}

impl CuttingProxy {
    /// Forwards to `target`, and cuts nothing until [`CuttingProxy::begin`]. `bytes` is how much the target may send on
    /// one connection before it is cut, at random, small numbers as likely as large ones.
    pub async fn start(target: SocketAddr, bytes: Range<u64>, seed: u64) -> CuttingProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sea = watch::Sender::new(Sea::Calm);
        let cuts = Arc::new(AtomicUsize::new(0));
        let (seas, counter) = (sea.clone(), cuts.clone());
        let accepting = tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed);
            while let Ok((client, _)) = listener.accept().await {
                let magnitude = rng.random_range((bytes.start as f64).ln()..(bytes.end as f64).ln());
                let budget = magnitude.exp() as u64;
                tokio::spawn(forward(client, target, budget, seas.subscribe(), counter.clone()));
            }
        });
        CuttingProxy {
            address,
            sea,
            cuts,
            accepting: accepting.abort_handle(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn begin(&self) {
        self.sea.send_replace(Sea::Rough);
    }

    pub fn calm(&self) {
        self.sea.send_replace(Sea::Calm);
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(
    client: TcpStream,
    target: SocketAddr,
    budget: u64,
    sea: watch::Receiver<Sea>,
    cuts: Arc<AtomicUsize>,
) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let calm = sea.clone();
    tokio::select! {
        _ = copy(client_read, server_write, u64::MAX, calm) => {}
        cut = copy(server_read, client_write, budget, sea) => {
            cuts.fetch_add(usize::from(cut), Ordering::SeqCst);
        }
    }
}

/// Returns whether it cut the connection. Bytes that pass in calm do not count.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut budget: u64,
    sea: watch::Receiver<Sea>,
) -> bool {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut pass = length;
        if *sea.borrow() == Sea::Rough {
            pass = usize::try_from(budget).unwrap_or(usize::MAX).min(length);
            budget -= pass as u64;
        }
        if to.write_all(&buffer[..pass]).await.is_err() {
            return false;
        }
        if pass < length {
            return true;
        }
    }
    false
}
