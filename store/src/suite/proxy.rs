//! A TCP proxy that can lose replies and break connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards to a target until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    faults: Arc<watch::Sender<Faults>>,
    accepting: tokio::task::AbortHandle,
}

#[derive(Clone, Copy, Default)]
struct Faults {
    lose_replies: bool,
    /// Connections made before the last silence lose replies and stay open.
    silences: u64,
    /// Connections made before the last cut are closed.
    cuts: u64,
}

impl Proxy {
    /// Listens on a free port of the loopback address.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("listen on a free port");
        let address = listener.local_addr().expect("the listener's address");
        let faults = Arc::new(watch::Sender::new(Faults::default()));
        let connections = faults.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, target, connections.subscribe()));
            }
        });
        Proxy {
            address,
            faults,
            accepting: accepting.abort_handle(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on what the target sends is read and dropped.
    pub fn lose_replies(&self) {
        self.faults.send_modify(|faults| faults.lose_replies = true);
    }

    /// From now on what the target sends on the connections that there are is read and dropped. New ones lose
    /// nothing.
    pub fn silence(&self) {
        self.faults.send_modify(|faults| faults.silences += 1);
    }

    /// Closes all connections; new ones lose nothing.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| {
            *faults = Faults {
                lose_replies: false,
                silences: faults.silences,
                cuts: faults.cuts + 1,
            }
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn forward(client: TcpStream, target: SocketAddr, mut faults: watch::Receiver<Faults>) {
    let Faults { cuts, silences, .. } = *faults.borrow();
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let replies = faults.clone();
    let is_silent = || {
        let faults = replies.borrow();
        faults.lose_replies || faults.silences > silences
    };
    tokio::select! {
        () = copy(client_read, server_write, || false) => {}
        () = copy(server_read, client_write, is_silent) => {}
        _ = faults.wait_for(|faults| faults.cuts > cuts) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lose: impl Fn() -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if !lose() && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
