//! Several apiservers, some of which are away, frozen or cut off from the store.

use gantry_client::{Cache, Client, Config, ListOptions};
use gantry_proto::any::Any;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::resources_server::{Resources, ResourcesServer};
use gantry_proto::api::v1::{self as api, Object, WatchEvent, WatchReply};
use gantry_proto::core::v1::ConfigMap;
use gantry_proto::meta::v1::{ObjectMeta, Status};
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind as _};
use prost::Message as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response};

/// Nothing here takes nearly as long; more means that it hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// The store that the apiservers share: object n was written at revision n.
type Store = watch::Sender<i64>;

/// An apiserver that can lose its store.
struct Apiserver {
    store: Arc<Store>,
    /// What it has seen of the store.
    shown: watch::Sender<i64>,
    is_cut_off: AtomicBool,
    ends_watches_at_once: AtomicBool,
    watches: AtomicUsize,
    address: SocketAddr,
}

impl Apiserver {
    async fn start(store: &Arc<Store>) -> Arc<Apiserver> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let apiserver = Arc::new(Apiserver {
            store: store.clone(),
            shown: watch::Sender::new(*store.borrow()),
            is_cut_off: AtomicBool::new(false),
            ends_watches_at_once: AtomicBool::new(false),
            watches: AtomicUsize::new(0),
            address: listener.local_addr().unwrap(),
        });
        let service = ResourcesServer::new(Served(apiserver.clone()));
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        let follower = apiserver.clone();
        tokio::spawn(async move {
            let mut store = follower.store.subscribe();
            while store.changed().await.is_ok() {
                if !follower.is_cut_off.load(Ordering::SeqCst) {
                    follower.shown.send_replace(*store.borrow());
                }
            }
        });
        apiserver
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

struct Served(Arc<Apiserver>);

impl Served {
    fn answer(&self, revision: i64) -> Result<Response<api::ObjectReply>, tonic::Status> {
        self.available()?;
        Ok(Response::new(api::ObjectReply {
            object: Some(object(revision)),
            ..Default::default()
        }))
    }

    fn available(&self) -> Result<(), tonic::Status> {
        match self.0.is_cut_off.load(Ordering::SeqCst) {
            true => Err(Status::failure(Reason::ServiceUnavailable, "the store is away").into()),
            false => Ok(()),
        }
    }
}

fn object(revision: i64) -> Object {
    let config_map = ConfigMap {
        metadata: Some(ObjectMeta {
            name: format!("c{revision}"),
            namespace: "default".into(),
            resource_version: revision.to_string(),
            ..ObjectMeta::default()
        }),
        ..ConfigMap::default()
    };
    let any = Any::new(ConfigMap::INFO.message, config_map.encode_to_vec().into());
    Object {
        form: Some(Form::Any(any)),
    }
}

type Reply = Result<Response<api::ObjectReply>, tonic::Status>;

#[tonic::async_trait]
impl Resources for Served {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchReply, tonic::Status>> + Send>>;

    async fn discover(
        &self,
        _: Request<api::DiscoverRequest>,
    ) -> Result<Response<api::DiscoverReply>, tonic::Status> {
        Ok(Response::new(api::DiscoverReply::default()))
    }

    async fn get(&self, _: Request<api::GetRequest>) -> Reply {
        self.answer(1)
    }

    async fn list(&self, _: Request<api::ListRequest>) -> Result<Response<api::ListReply>, tonic::Status> {
        self.available()?;
        let revision = *self.0.shown.borrow();
        Ok(Response::new(api::ListReply {
            items: (1..=revision).map(object).collect(),
            resource_version: revision.to_string(),
            ..Default::default()
        }))
    }

    async fn watch(
        &self,
        request: Request<api::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, tonic::Status> {
        self.0.watches.fetch_add(1, Ordering::SeqCst);
        let (events, stream) = tokio::sync::mpsc::channel(16);
        let mut told: i64 = request.into_inner().resource_version.parse().unwrap();
        let mut shown = self.0.shown.subscribe();
        if !self.0.ends_watches_at_once.load(Ordering::SeqCst) {
            tokio::spawn(async move {
                loop {
                    let revision = *shown.borrow_and_update();
                    for revision in told + 1..=revision {
                        let event = WatchEvent {
                            r#type: "ADDED".into(),
                            object: Some(object(revision)),
                            revision,
                            ..WatchEvent::default()
                        };
                        let reply = WatchReply { events: vec![event] };
                        if events.send(Ok(reply)).await.is_err() {
                            return;
                        }
                    }
                    told = told.max(revision);
                    if shown.changed().await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn create(&self, _: Request<api::CreateRequest>) -> Reply {
        self.available()?;
        self.0.store.send_modify(|revision| *revision += 1);
        self.answer(*self.0.store.borrow())
    }

    async fn update(&self, _: Request<api::UpdateRequest>) -> Reply {
        self.answer(1)
    }

    async fn patch(&self, _: Request<api::PatchRequest>) -> Reply {
        self.answer(1)
    }

    async fn delete(&self, _: Request<api::DeleteRequest>) -> Reply {
        self.answer(1)
    }

    async fn delete_collection(
        &self,
        _: Request<api::DeleteCollectionRequest>,
    ) -> Result<Response<api::ListReply>, tonic::Status> {
        Err(tonic::Status::unimplemented("delete_collection"))
    }
}

fn client(servers: Vec<String>) -> Client {
    Client::new(Config {
        servers,
        ca: Vec::new(),
        identity: None,
        tls_server_name: None,
        namespace: None,
        trace_parent: || None,
        observer: gantry_client::Observer::default(),
    })
    .unwrap()
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let late = || panic!("{what} took longer than {DEADLINE:?}");
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| late())
}

#[tokio::test]
async fn a_frozen_apiserver_is_passed_over() {
    // The kernel accepts the connection, and nobody ever answers on it.
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = Arc::new(Store::new(1));
    let well = Apiserver::start(&store).await;
    let client = client(vec![
        format!("https://{}", frozen.local_addr().unwrap()),
        well.url(),
    ]);
    let read = in_time("a read", client.get::<ConfigMap>(&Key::new("default", "c1"))).await;
    assert_eq!(read.unwrap().metadata().name, "c1");
    assert_eq!(client.server(), well.address.to_string());
}

#[tokio::test]
async fn a_write_goes_once_to_an_apiserver_that_can_serve() {
    let store = Arc::new(Store::new(1));
    let (cut_off, well) = (Apiserver::start(&store).await, Apiserver::start(&store).await);
    cut_off.is_cut_off.store(true, Ordering::SeqCst);
    let client = client(vec![cut_off.url(), well.url()]);
    in_time("a write", client.create(&ConfigMap::default()))
        .await
        .unwrap();
    assert_eq!(*store.borrow(), 2);
    assert_eq!(client.server(), well.address.to_string());
    well.is_cut_off.store(true, Ordering::SeqCst);
    let error = in_time("a write", client.create(&ConfigMap::default()))
        .await
        .unwrap_err();
    assert!(matches!(error, gantry_client::Error::Unavailable(_)), "{error:?}");
    assert_eq!(*store.borrow(), 2);
}

#[tokio::test]
async fn a_call_that_is_not_typed_fails_over_too_and_says_where_it_failed() {
    let store = Arc::new(Store::new(1));
    let well = Apiserver::start(&store).await;
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let watch = |client: Client| async move {
        let request = api::WatchRequest {
            resource: "configmaps".into(),
            resource_version: "0".into(),
            ..Default::default()
        };
        let attempt = |connection: gantry_client::Connection| {
            let request = request.clone();
            async move { connection.resources().watch(request).await }
        };
        client.call_any(attempt).await.map(Response::into_inner)
    };
    let both = client(vec![format!("http://{gone}"), well.url()]);
    let mut stream = in_time("a watch", watch(both)).await.unwrap();
    let first = in_time("an event", stream.message()).await.unwrap().unwrap();
    assert_eq!(first.events[0].revision, 1);
    let error = in_time("a watch", watch(client(vec![format!("http://{gone}")])))
        .await
        .unwrap_err();
    assert_eq!(error.server, gone.to_string());
}

#[tokio::test]
async fn a_cache_follows_to_an_apiserver_that_can_serve_and_misses_nothing() {
    let store = Arc::new(Store::new(1));
    let (first, second) = (Apiserver::start(&store).await, Apiserver::start(&store).await);
    let client = client(vec![first.url(), second.url()]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let (shutdown, telling) = (CancellationToken::new(), told.clone());
    let cache = Cache::<ConfigMap>::builder(client.clone())
        .on_change(move |change| telling.lock().unwrap().push(change.key.name.clone()))
        .spawn(shutdown.clone());
    in_time("the first list", cache.synced()).await;
    client.create(&ConfigMap::default()).await.unwrap();
    in_time("an event", cache.reached(2)).await;
    // The first keeps its connections and its watches, and hears nothing any more.
    first.is_cut_off.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        client.create(&ConfigMap::default()).await.unwrap();
    }
    in_time("events from the second", cache.reached(5)).await;
    assert_eq!(*told.lock().unwrap(), ["c1", "c2", "c3", "c4", "c5"]);
    let list = client.list::<ConfigMap>(&ListOptions::default()).await.unwrap();
    assert_eq!(list.items.len(), cache.snapshot().len());
    shutdown.cancel();
}

#[tokio::test]
async fn watches_that_end_at_once_are_repeated_less_and_less_often() {
    let store = Arc::new(Store::new(1));
    let apiserver = Apiserver::start(&store).await;
    apiserver.ends_watches_at_once.store(true, Ordering::SeqCst);
    let shutdown = CancellationToken::new();
    let started = Instant::now();
    let _cache = Cache::<ConfigMap>::builder(client(vec![apiserver.url()])).spawn(shutdown.clone());
    let sixth = async {
        while apiserver.watches.load(Ordering::SeqCst) < 6 {
            tokio::task::yield_now().await;
        }
    };
    in_time("the sixth watch", sixth).await;
    // Half of 50, 100, 200, 400 and 800 ms is the least that five pauses come to.
    assert!(
        started.elapsed() >= Duration::from_millis(775),
        "{:?}",
        started.elapsed()
    );
    shutdown.cancel();
}
