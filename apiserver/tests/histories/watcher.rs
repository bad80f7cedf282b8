//! A client that lists once and then watches, and comes back to any server where its watch was cut.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_proto::api::v1::resources_client::ResourcesClient;
use gantry_proto::api::v1::{self as api, WatchEvent};
use gantry_proto::core::v1::ConfigMap;
use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::cluster::decode;
use crate::truth::{Happened, Segment};

const PAUSE: Duration = Duration::from_millis(5);
/// A connection that was cut while nothing was sent on it tells its client nothing.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const LIST_CHUNK: i64 = 5;

pub struct Watcher {
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    segments: Mutex<Vec<Segment>>,
    position: AtomicI64,
}

impl Watcher {
    /// Uses the servers in turn, the one of this number first.
    pub fn start(
        servers: Vec<SocketAddr>,
        number: usize,
        ca: &[u8],
        identity: (&str, &str),
        stop: CancellationToken,
    ) -> Watcher {
        let seen = Arc::new(Seen::default());
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .identity(Identity::from_pem(identity.0, identity.1))
            .domain_name("localhost");
        let watching = Watching {
            seen: seen.clone(),
            servers,
            next: number,
            tls,
        };
        tokio::spawn(async move {
            let _ = stop.run_until_cancelled(watching.go_on()).await;
        });
        Watcher { seen }
    }

    pub fn position(&self) -> i64 {
        self.seen.position.load(Ordering::SeqCst)
    }

    pub fn segments(&self) -> Vec<Segment> {
        self.seen.segments.lock().unwrap().clone()
    }

    pub fn lists(&self) -> usize {
        self.seen.segments.lock().unwrap().len()
    }
}

struct Watching {
    seen: Arc<Seen>,
    servers: Vec<SocketAddr>,
    next: usize,
    tls: ClientTlsConfig,
}

/// Why a watch ended.
enum Ended {
    /// It is resumed from its place.
    Cut,
    /// Only a list helps.
    Expired,
}

impl Watching {
    async fn go_on(mut self) {
        let mut place = None;
        loop {
            let server = self.servers[self.next % self.servers.len()];
            self.next += 1;
            if let Some(client) = self.connect(server).await {
                if place.is_none() {
                    place = self.list(&client).await;
                }
                if let Some(revision) = place {
                    place = match self.watch(&client, revision).await {
                        (_, Ended::Expired) => None,
                        (revision, Ended::Cut) => Some(revision),
                    };
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn connect(&self, server: SocketAddr) -> Option<ResourcesClient<Channel>> {
        let endpoint = Endpoint::from_shared(format!("https://{server}")).unwrap();
        let endpoint = endpoint.tls_config(self.tls.clone()).unwrap();
        let connected = tokio::time::timeout(CONNECT_LIMIT, endpoint.connect()).await;
        let channel = connected.ok()?.ok()?;
        Some(ResourcesClient::new(channel).max_decoding_message_size(64 << 20))
    }

    /// All chunks of one list; `None` where any of them was cut.
    async fn list(&self, client: &ResourcesClient<Channel>) -> Option<i64> {
        let mut segment = Segment::default();
        let mut token = String::new();
        loop {
            let request = api::ListRequest {
                resource: "configmaps".into(),
                namespace: "default".into(),
                limit: LIST_CHUNK,
                r#continue: token,
                ..Default::default()
            };
            let reply = client.clone().list(request).await.ok()?.into_inner();
            segment.listed_at = reply.resource_version.parse().unwrap();
            for item in reply.items {
                let map: ConfigMap = decode(item);
                let revision = map.metadata().resource_version.parse().unwrap();
                let value = map.data.get("k").cloned().unwrap_or_default();
                segment
                    .listed
                    .insert(map.metadata().name.clone(), (revision, value));
            }
            token = reply.r#continue;
            if token.is_empty() {
                break;
            }
        }
        let revision = segment.listed_at;
        self.seen.segments.lock().unwrap().push(segment);
        self.seen.position.store(revision, Ordering::SeqCst);
        Some(revision)
    }

    async fn watch(&self, client: &ResourcesClient<Channel>, mut revision: i64) -> (i64, Ended) {
        let request = api::WatchRequest {
            resource: "configmaps".into(),
            namespace: "default".into(),
            resource_version: revision.to_string(),
            allow_bookmarks: true,
            ..Default::default()
        };
        let Ok(stream) = client.clone().watch(request).await else {
            return (revision, Ended::Cut);
        };
        let mut stream = stream.into_inner();
        while let Ok(Some(reply)) = stream.message().await {
            for event in reply.events {
                if event.r#type == "ERROR" {
                    let why: Status = event.error.unwrap();
                    assert_eq!(why.reason_code(), Reason::Expired, "{why:?}");
                    return (revision, Ended::Expired);
                }
                revision = event.revision;
                self.note(event);
            }
            self.seen.position.store(revision, Ordering::SeqCst);
        }
        (revision, Ended::Cut)
    }

    fn note(&self, event: WatchEvent) {
        let revision = event.revision;
        let Some(object) = event.object else { return };
        let map: ConfigMap = decode(object);
        let value = map.data.get("k").cloned().unwrap_or_default();
        let happened = Happened {
            revision,
            name: map.metadata().name.clone(),
            value: (event.r#type != "DELETED").then_some(value),
        };
        let mut segments = self.seen.segments.lock().unwrap();
        segments.last_mut().unwrap().events.push(happened);
    }
}
