//! A real etcd for a test: on loopback, with TLS and client certificates, in a temporary folder, gone when the
//! test ends however it ends.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::time::{Duration, sleep, timeout};

use super::proxy::Proxy;
use super::{DEADLINE, Lossy, Subject};
use crate::Store;
use crate::etcd::{Config, EtcdStore, connect};

/// How often a starting etcd's log is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Runs etcd until it is asked to stop or the test's end of the pipe closes, which happens even when the test
/// is killed.
const RUN_UNTIL_STDIN_CLOSES: &str = r#""$@" & server=$!; cat >/dev/null; kill -9 $server; wait $server"#;

/// One etcd server with its data.
pub struct EtcdServer {
    folder: PathBuf,
    options: Vec<String>,
    /// 127.0.0.1, and the port that it got at its first start.
    address: SocketAddr,
    process: Option<Child>,
}

impl EtcdServer {
    /// Starts an etcd of its own for the caller.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further command line options.
    pub async fn start_with(options: &[&str]) -> Self {
        let folder = new_folder();
        write_certificates(&folder);
        let options = options.iter().map(ToString::to_string).collect();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = EtcdServer {
            folder,
            options,
            address: any_port,
            process: None,
        };
        server.run().await;
        server
    }

    /// How to reach it.
    pub fn config(&self) -> Config {
        self.config_by_way_of(self.address)
    }

    /// How to reach it through a proxy.
    pub fn config_by_way_of(&self, address: SocketAddr) -> Config {
        Config {
            endpoints: vec![format!("https://{address}")],
            ca_file: self.folder.join("ca.crt"),
            cert_file: self.folder.join("client.crt"),
            key_file: self.folder.join("client.key"),
        }
    }

    pub async fn connect(&self) -> EtcdStore {
        connect(self.config()).await.expect("connect to the test's etcd")
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it (SIGKILL); its data stays.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            process.wait().expect("wait for the end of etcd");
        }
    }

    /// Kills it and starts it again on the same data and the same port.
    pub async fn restart(&mut self) {
        self.kill();
        self.run().await;
    }

    /// Starts it and waits until it serves.
    pub async fn run(&mut self) {
        let log = self.folder.join("log");
        let _ = fs::remove_file(&log);
        self.process = Some(self.spawn(&log));
        let serving = async {
            loop {
                let text = fs::read_to_string(&log).unwrap_or_default();
                if let Some(address) = address_in_log(&text) {
                    return address;
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        match timeout(DEADLINE, serving).await {
            Ok(address) => self.address = address,
            Err(_) => panic!(
                "etcd did not start: {}",
                fs::read_to_string(&log).unwrap_or_default()
            ),
        }
    }

    fn spawn(&self, log: &Path) -> Child {
        let any_port = "http://127.0.0.1:0";
        let url = format!("https://{}", self.address);
        let ca = self.folder.join("ca.crt");
        let mut command = Command::new("sh");
        command
            .args(["-c", RUN_UNTIL_STDIN_CLOSES, "sh", &program().to_string_lossy()])
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args([
                "--listen-peer-urls",
                any_port,
                "--initial-advertise-peer-urls",
                any_port,
            ])
            .args([
                "--initial-cluster",
                "default=http://127.0.0.1:0",
                "--client-cert-auth",
            ])
            .arg("--trusted-ca-file")
            .arg(ca)
            .arg("--cert-file")
            .arg(self.folder.join("server.crt"))
            .arg("--key-file")
            .arg(self.folder.join("server.key"))
            // Killing the process loses nothing that was written, only the machine's end would.
            .args([
                "--unsafe-no-fsync",
                "--heartbeat-interval",
                "20",
                "--election-timeout",
                "200",
            ])
            .args(&self.options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(log).expect("create etcd's log"));
        command.spawn().expect("run sh")
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A server with a connection to it, as the suite wants it.
pub struct EtcdSubject {
    pub server: EtcdServer,
    store: EtcdStore,
    proxy: Option<Arc<Proxy>>,
}

impl EtcdSubject {
    pub async fn start() -> Self {
        let server = EtcdServer::start().await;
        let store = server.connect().await;
        EtcdSubject {
            server,
            store,
            proxy: None,
        }
    }
}

impl Subject for EtcdSubject {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn restart(&mut self) -> BoxFuture<'_, ()> {
        self.server.restart().boxed()
    }

    fn lossy(&mut self) -> BoxFuture<'_, Option<Lossy>> {
        async {
            let proxy = Arc::new(Proxy::start(self.server.address()).await);
            let config = self.server.config_by_way_of(proxy.address());
            let store = connect(config).await.expect("connect through the proxy");
            self.proxy = Some(proxy.clone());
            let (loser, cutter) = (proxy.clone(), proxy);
            Some(Lossy {
                store: Arc::new(store),
                lose_replies: Box::new(move || loser.lose_replies()),
                cut: Box::new(move || cutter.cut()),
            })
        }
        .boxed()
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("etcd"))
        .find(|file| file.is_file());
    found.expect("these tests need etcd 3.5.13 or newer on the PATH: run scripts/install-etcd.sh")
}

fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("gantry-etcd-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).expect("create a temporary folder");
    folder
}

/// The address in the log line that says that clients are served.
fn address_in_log(log: &str) -> Option<SocketAddr> {
    let line = log
        .lines()
        .find(|line| line.contains("serving client traffic securely"))?;
    let (_, behind) = line.split_once(r#""address":""#)?;
    let (address, _) = behind.split_once('"')?;
    address.parse().ok()
}

fn write_certificates(folder: &Path) {
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("write a certificate");
    let ca_key = KeyPair::generate().expect("generate a key");
    let mut ca = params(Vec::new(), "gantry test etcd CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.crt", ca.self_signed(&ca_key).expect("sign the CA").pem());
    let issuer = Issuer::new(ca, ca_key);
    for (name, names, usage) in [
        // etcd's own gateway is a client of itself with the server's certificate.
        (
            "server",
            vec!["127.0.0.1".to_owned()],
            ExtendedKeyUsagePurpose::ServerAuth,
        ),
        ("client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate().expect("generate a key");
        let mut params = params(names, name);
        params.extended_key_usages = vec![usage, ExtendedKeyUsagePurpose::ClientAuth];
        write(
            &format!("{name}.crt"),
            params.signed_by(&key, &issuer).expect("sign a certificate").pem(),
        );
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

fn params(names: Vec<String>, common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(names).expect("valid names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
