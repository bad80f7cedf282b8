//! The time that CNI plugins take, as spans of the sandboxes that they serve.
//!
//! `gantry-cni` says when a plugin begins, and the end of its connection is the plugin's end.

use crate::clock::now;
use crate::network::cni_timer::{ADDRESS, PREFIX};
use gantry_telemetry::trace::{self, Cause, Past};
use std::collections::HashMap;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The program that stands before the plugins; it lies beside the agent's own.
const PROGRAM: &str = "gantry-cni";
/// The plugins that it stands before.
pub const TIMED: [&str; 2] = ["bridge", "portmap"];
/// Plugins that are timed at once: more than sandboxes are made at once, with two plugins each. What comes then is not
/// timed.
const AT_ONCE: usize = 256;
/// The longest line: a command, a plugin, a uid and a time.
const LINE_BYTES: u64 = 256;
/// The longest time that is waited for a plugin's end. containerd gives up earlier.
const LONGEST: Duration = Duration::from_secs(300);

/// Which span a pod's network is made in, or taken away in. Clones share it. Bounded by the node's pods.
#[derive(Clone, Default)]
pub struct CniSpans {
    causes_by_uid: Arc<Mutex<HashMap<String, Cause>>>,
}

/// What a plugin began with.
#[derive(Debug, PartialEq)]
struct Begun {
    name: &'static str,
    plugin: &'static str,
    uid: String,
    start: SystemTime,
}

impl CniSpans {
    /// From now on, a pod's plugins run in `span`.
    pub fn enter(&self, uid: &str, span: &tracing::Span) {
        match trace::cause_of(span) {
            Some(cause) => self.lock().insert(uid.to_owned(), cause),
            None => self.lock().remove(uid),
        };
    }

    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Listens for plugins until `shutdown`.
    pub async fn listen(self, shutdown: CancellationToken) {
        let listener = match listener() {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "CNI plugins are not timed");
                return;
            }
        };
        let places = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
            let connection = match accepted {
                Ok((connection, _)) => connection,
                Err(error) => {
                    tracing::debug!(%error, "a CNI plugin could not be listened to");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // A pod in the host's network reaches the address, too.
            let is_root = connection.peer_cred().is_ok_and(|peer| peer.uid() == 0);
            let Some(place) = places.clone().try_acquire_owned().ok().filter(|_| is_root) else {
                continue;
            };
            let spans = self.clone();
            tokio::spawn(async move {
                let _ = tokio::time::timeout(LONGEST, spans.follow(connection)).await;
                drop(place);
            });
        }
    }

    async fn follow(&self, connection: UnixStream) {
        let mut connection = BufReader::new(connection.take(LINE_BYTES));
        let mut line = String::new();
        if connection.read_line(&mut line).await.is_err() {
            return;
        }
        let Some(begun) = parse(&line) else { return };
        let Some(cause) = self.lock().get(&begun.uid).cloned() else {
            return;
        };
        // Nothing more is said: this is the end.
        let _ = connection.read_u8().await;
        trace::record(&Past {
            name: begun.name,
            cause: &cause,
            start: begun.start,
            end: now(),
            attributes: &[("cni.plugin", begun.plugin), ("k8s.pod.uid", &begun.uid)],
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Cause>> {
        self.causes_by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listener() -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(ADDRESS)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Reads `ADD bridge UID NANOSECONDS`.
fn parse(line: &str) -> Option<Begun> {
    let mut words = line.split_whitespace();
    let name = match words.next()? {
        "ADD" => "cni.add",
        "DEL" => "cni.del",
        _ => return None,
    };
    let plugin = words.next()?;
    let plugin = TIMED.into_iter().find(|timed| *timed == plugin)?;
    let uid = words.next()?.to_owned();
    let start = UNIX_EPOCH + Duration::from_nanos(words.next()?.parse().ok()?);
    Some(Begun {
        name,
        plugin,
        uid,
        start,
    })
}

/// The name by which CNI's configuration names a plugin: its own, or that of the program before it, where that is
/// installed.
pub fn plugin_name(bin_dir: &Path, plugin: &str) -> String {
    let timed = format!("{PREFIX}{plugin}");
    let is_executable = |path: &Path| {
        let metadata = std::fs::metadata(path);
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    match is_executable(&bin_dir.join(&timed)) {
        true => timed,
        false => plugin.to_owned(),
    }
}

/// Puts the program before the plugins into their folder. Where it cannot be, pods start without spans for CNI.
pub fn install(bin_dir: &Path) {
    let installed = std::env::current_exe().and_then(|own| {
        let program = own.with_file_name(PROGRAM);
        let bytes = std::fs::read(&program)?;
        for plugin in TIMED {
            put(&bytes, &bin_dir.join(format!("{PREFIX}{plugin}")))?;
        }
        Ok(())
    });
    if let Err(error) = installed {
        tracing::info!(%error, "{PROGRAM} is not installed: CNI plugins are not timed");
    }
}

/// Writes an executable whole or not at all; several agents of one machine may do so at once.
fn put(bytes: &[u8], path: &Path) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = std::fs::write(&new, bytes)
        .and_then(|()| std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        // Half a program is of no use to anybody.
        let _ = std::fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_program_says_is_understood() {
        let begun = |name, plugin| Begun {
            name,
            plugin,
            uid: "0b5c".into(),
            start: UNIX_EPOCH + Duration::from_nanos(7),
        };
        assert_eq!(parse("ADD bridge 0b5c 7\n"), Some(begun("cni.add", "bridge")));
        assert_eq!(parse("DEL portmap 0b5c 7\n"), Some(begun("cni.del", "portmap")));
        for nonsense in [
            "",
            "ADD",
            "ADD bridge",
            "ADD bridge u",
            "ADD bridge u x",
            "GET bridge u 7",
            "ADD cat u 7",
        ] {
            assert_eq!(parse(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_plugin_is_named_itself_where_nothing_stands_before_it() {
        let folder = std::env::temp_dir().join(format!("gantry-cni-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("gantry-bridge");
        assert_eq!(plugin_name(&folder, "bridge"), "bridge");
        std::fs::write(&path, "").unwrap();
        assert_eq!(plugin_name(&folder, "bridge"), "bridge", "it cannot be executed");
        put(b"program", &path).unwrap();
        assert_eq!(plugin_name(&folder, "bridge"), "gantry-bridge");
        assert_eq!(plugin_name(&folder, "portmap"), "portmap");
        assert_eq!(
            std::fs::read_dir(&folder).unwrap().count(),
            1,
            "nothing is left behind"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
