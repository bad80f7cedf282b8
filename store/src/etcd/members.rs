//! The members of the etcd cluster: a connection for calls and one for watches to each, and which member is
//! asked first.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, KvClient, LeaseClient, WatchOptions, WatchStream};
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tracing::Instrument;

use super::failure::{self, Request, Verdict};
use super::{Config, version, wire};
use crate::{Error, Revision};

/// The largest reply that is accepted; see `PAGE_KEYS` for what can come close.
pub(super) const LARGEST_REPLY: usize = 1 << 30;

/// The largest watch message that is accepted. A fragment is at most etcd's largest request (1.5 MiB) and one
/// event more; 64 MiB leave room for an operator who has raised `--max-request-bytes` to 10 MiB.
const LARGEST_WATCH_MESSAGE: usize = 64 << 20;

/// How long a call may take, all its attempts together. etcd gives up a request by itself after 5 s and two
/// election timeouts (1 s each), and its answer says more than our silence would; so this is above 7 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A member on the network answers in milliseconds; two lost SYNs (1 s, 2 s) are still tolerated.
const DIAL_TIMEOUT: Duration = Duration::from_secs(4);

/// A silent connection is found dead after the two of these, which leaves a read the time for a new one within
/// `CALL_TIMEOUT`. etcd objects to pings more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How often `connect` asks again while etcd is not up.
const CONNECT_PAUSE: Duration = Duration::from_millis(250);

/// How much etcd may send ahead of our reading: a stream may fill 8 MiB, and eight full streams a connection.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;

pub(super) struct Members {
    members: Vec<Member>,
    /// The member that answered last; an index that only grows, taken modulo the number of members.
    preferred: AtomicUsize,
}

pub(super) struct Member {
    endpoint: String,
    calls: Client,
    /// Watches have a connection of their own.
    watches: Client,
}

impl Members {
    /// Reads the certificates and prepares the connections; dials nothing yet.
    pub(super) async fn new(config: &Config) -> Result<Self, Error> {
        if config.endpoints.is_empty() {
            return Err(Error::Refused("no etcd endpoint is configured".into()));
        }
        let ca = read_pem("CA certificate", &config.ca_file).await?;
        let certificate = read_pem("client certificate", &config.cert_file).await?;
        let key = read_pem("client key", &config.key_file).await?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .identity(Identity::from_pem(certificate, key))
            // A server that is stopped still has its kernel accept connections.
            .timeout(DIAL_TIMEOUT);
        let mut members = Vec::with_capacity(config.endpoints.len());
        for endpoint in &config.endpoints {
            let transport = transport(endpoint, tls.clone())?;
            let calls = client(&transport).await?;
            let watches = client(&transport).await?;
            members.push(Member {
                endpoint: endpoint.clone(),
                calls,
                watches,
            });
        }
        Ok(Members {
            members,
            preferred: AtomicUsize::new(0),
        })
    }

    /// Waits until a member answers, and refuses the cluster if one that answers is too old.
    pub(super) async fn wait_until_one_answers(&self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        let mut said = String::new();
        loop {
            let answers = join_all(self.members.iter().map(|member| member.check_version(deadline))).await;
            let mut unavailable = None;
            let mut answered = false;
            for answer in answers {
                match answer {
                    Ok(()) => answered = true,
                    Err(error @ Error::Unavailable(_)) => unavailable = Some(error),
                    Err(fatal) => return Err(fatal),
                }
            }
            match unavailable {
                _ if answered => return Ok(()),
                Some(error) if Instant::now() >= deadline => return Err(error),
                Some(error) if error.to_string() != said => {
                    said = error.to_string();
                    tracing::warn!(duration = ?patience, "waiting for etcd: {said}");
                }
                _ => {}
            }
            sleep(CONNECT_PAUSE).await;
        }
    }

    /// Asks the preferred member, and the others in turn as long as that is without danger. A read has a second
    /// chance on the same member if it is the only one: its connection may have been a stale one. A member that is
    /// silent leaves the others their share of the time.
    pub(super) async fn call<T, F>(
        &self,
        request: Request,
        attempt: impl Fn(&Member) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let attempt = &attempt;
        self.try_each(|member, shares| async move {
            let span = request.span(&member.endpoint);
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = if request.may_be_repeated() {
                left / shares
            } else {
                left
            };
            match timeout(limit, attempt(member)).instrument(span).await {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(failure)) => Err(failure::judge(request, &member.endpoint, failure)),
                Err(_) => Err(failure::judge_silence(request, &member.endpoint)),
            }
        })
        .await
    }

    /// Opens a watch of the prefix from `start` on, at a member that is new enough.
    pub(super) async fn open_watch(&self, prefix: &str, start: Revision) -> Result<WatchStream, Error> {
        self.try_each(|member, _| member.open_watch(prefix, start)).await
    }

    /// `attempt` is told how many members are left, itself included.
    async fn try_each<'a, T, F>(&'a self, attempt: impl Fn(&'a Member, u32) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Verdict>>,
    {
        let first = self.preferred.load(Ordering::Relaxed);
        let attempts = self.members.len().max(2);
        let mut next = first;
        loop {
            let member = &self.members[next % self.members.len()];
            let members_left = self.members.len().saturating_sub(next - first).max(1);
            match attempt(member, u32::try_from(members_left).unwrap_or(u32::MAX)).await {
                Ok(reply) => return Ok(reply),
                Err(verdict) => {
                    if !verdict.may_try_elsewhere {
                        return Err(verdict.error);
                    }
                    // Whoever fails first moves everybody on; the others find it moved already.
                    let _ =
                        self.preferred
                            .compare_exchange(next, next + 1, Ordering::Relaxed, Ordering::Relaxed);
                    next += 1;
                    if next - first == attempts {
                        return Err(verdict.error);
                    }
                }
            }
        }
    }
}

impl Member {
    pub(super) fn kv(&self) -> KvClient {
        self.calls.kv_client().max_decoding_message_size(LARGEST_REPLY)
    }

    pub(super) fn lease(&self) -> LeaseClient {
        self.calls.lease_client()
    }

    async fn check_version(&self, deadline: Instant) -> Result<(), Error> {
        let request = Request::read("status");
        let deadline = deadline.min(Instant::now() + CALL_TIMEOUT);
        let mut maintenance = self.watches.maintenance_client();
        let verdict = match timeout_at(deadline, maintenance.status()).await {
            Ok(Ok(status)) => return version::check(&self.endpoint, status.version()),
            Ok(Err(failure)) => failure::judge(request, &self.endpoint, failure),
            Err(_) => failure::judge_silence(request, &self.endpoint),
        };
        Err(verdict.error)
    }

    /// The version is checked each time, because it is watches that an old member would break, and a member
    /// can come back as an older one.
    async fn open_watch(&self, prefix: &str, start: Revision) -> Result<WatchStream, Verdict> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        if let Err(error) = self.check_version(deadline).await {
            let may_try_elsewhere = matches!(error, Error::Unavailable(_));
            return Err(Verdict {
                error,
                may_try_elsewhere,
            });
        }
        let options = WatchOptions::new()
            .with_range(wire::range_end(prefix))
            .with_start_revision(start)
            .with_fragment();
        let request = Request::read("watch").at(start - 1);
        let mut client = self
            .watches
            .watch_client()
            .max_decoding_message_size(LARGEST_WATCH_MESSAGE);
        match timeout_at(
            deadline,
            client.watch(wire::range_start(prefix, None), Some(options)),
        )
        .await
        {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(failure)) => Err(failure::judge(request, &self.endpoint, failure)),
            Err(_) => Err(failure::judge_silence(request, &self.endpoint)),
        }
    }
}

async fn read_pem(what: &str, path: &Path) -> Result<Vec<u8>, Error> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| Error::Refused(format!("cannot read etcd's {what} {}: {error}", path.display())))
}

fn transport(endpoint: &str, tls: ClientTlsConfig) -> Result<Endpoint, Error> {
    if !endpoint.starts_with("https://") {
        let text = format!("the etcd endpoint {endpoint:?} is not of the form https://host:port");
        return Err(Error::Refused(text));
    }
    let refuse = |error: tonic::transport::Error| {
        let cause: &dyn std::error::Error = &error;
        let cause = cause
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        Error::Refused(format!(
            "the etcd endpoint {endpoint:?} or its certificates cannot be used: {cause}"
        ))
    };
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).map_err(refuse)?;
    Ok(endpoint
        .tls_config(tls)
        .map_err(refuse)?
        .connect_timeout(DIAL_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}

async fn client(transport: &Endpoint) -> Result<Client, Error> {
    // A member that has lost its leader answers so at once instead of letting us wait.
    let options = ConnectOptions::new().with_require_leader(true);
    let channel = Channel::Tonic(transport.connect_lazy());
    let client = Client::from_channel(channel, Some(options)).await;
    client.map_err(|error| Error::Refused(format!("cannot prepare a connection to etcd: {error}")))
}
