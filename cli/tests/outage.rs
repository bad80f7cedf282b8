//! The program against an apiserver that ends watches, forgets and refuses, as one does that is started again.

use gantry_proto::any::Any;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::resources_server::{Resources, ResourcesServer};
use gantry_proto::api::v1::{self as api, Object, WatchEvent, WatchReply};
use gantry_proto::core::v1::ConfigMap;
use gantry_proto::meta::v1::{ObjectMeta, Status};
use gantry_proto::status::Reason;
use gantry_proto::{Kind, KindInfo};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status as Refusal};

const DEADLINE: Duration = Duration::from_secs(60);

/// ConfigMaps c1, c2, ... which were written at revisions 1, 2, ...
#[derive(Default)]
struct Apiserver {
    lists: AtomicUsize,
    watches: AtomicUsize,
    created: AtomicUsize,
}

struct Served(Arc<Apiserver>);

fn object(revision: usize) -> Object {
    let config_map = ConfigMap {
        metadata: Some(ObjectMeta {
            name: format!("c{revision}"),
            namespace: "default".into(),
            resource_version: revision.to_string(),
            ..ObjectMeta::default()
        }),
        ..ConfigMap::default()
    };
    Object {
        form: Some(Form::Any(encoded(&config_map))),
    }
}

fn encoded<K: Kind>(object: &K) -> Any {
    let info: &KindInfo = K::INFO;
    Any::new(info.message, object.encode_to_vec().into())
}

type Reply = Result<Response<api::ObjectReply>, Refusal>;

fn not_asked_for() -> Reply {
    Err(Refusal::unimplemented("not part of these tests"))
}

#[tonic::async_trait]
impl Resources for Served {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchReply, Refusal>> + Send>>;

    async fn discover(
        &self,
        _: Request<api::DiscoverRequest>,
    ) -> Result<Response<api::DiscoverReply>, Refusal> {
        Ok(Response::new(api::DiscoverReply::default()))
    }

    async fn get(&self, request: Request<api::GetRequest>) -> Reply {
        Err(Status::not_found(ConfigMap::INFO, &request.into_inner().name).into())
    }

    /// Two objects at first, later five.
    async fn list(&self, _: Request<api::ListRequest>) -> Result<Response<api::ListReply>, Refusal> {
        let count = match self.0.lists.fetch_add(1, Ordering::SeqCst) {
            0 => 2,
            _ => 5,
        };
        Ok(Response::new(api::ListReply {
            items: (1..=count).map(object).collect(),
            resource_version: count.to_string(),
            ..Default::default()
        }))
    }

    /// One event and the end of the connection; a refusal; nothing remembered; and then all is well.
    async fn watch(
        &self,
        request: Request<api::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Refusal> {
        let event = |revision| {
            let event = WatchEvent {
                r#type: "ADDED".into(),
                object: Some(object(revision)),
                ..WatchEvent::default()
            };
            Ok(WatchReply { events: vec![event] })
        };
        let number = self.0.watches.fetch_add(1, Ordering::SeqCst);
        let after = request.into_inner().resource_version;
        let stream: Self::WatchStream = match number {
            0 => {
                assert_eq!(after, "2");
                let end = Err(Refusal::unavailable("the connection is reset"));
                Box::pin(tokio_stream::iter([event(3), end]))
            }
            1 => return Err(Status::failure(Reason::ServiceUnavailable, "the store is away").into()),
            2 => {
                assert_eq!(after, "3");
                return Err(Status::failure(Reason::Expired, "too old resource version: 3").into());
            }
            _ => {
                assert_eq!(after, "5");
                Box::pin(tokio_stream::iter([event(6)]).chain(tokio_stream::pending()))
            }
        };
        Ok(Response::new(stream))
    }

    async fn create(&self, request: Request<api::CreateRequest>) -> Reply {
        self.0.created.fetch_add(1, Ordering::SeqCst);
        let object = request.into_inner().object;
        Ok(Response::new(api::ObjectReply {
            object,
            ..Default::default()
        }))
    }

    async fn update(&self, _: Request<api::UpdateRequest>) -> Reply {
        not_asked_for()
    }

    async fn patch(&self, _: Request<api::PatchRequest>) -> Reply {
        not_asked_for()
    }

    async fn delete(&self, _: Request<api::DeleteRequest>) -> Reply {
        not_asked_for()
    }

    async fn delete_collection(
        &self,
        _: Request<api::DeleteCollectionRequest>,
    ) -> Result<Response<api::ListReply>, Refusal> {
        Err(Refusal::unimplemented("not part of these tests"))
    }
}

/// A running apiserver and a kubeconfig for it.
struct Cluster {
    apiserver: Arc<Apiserver>,
    folder: PathBuf,
}

impl Cluster {
    async fn start(name: &str) -> Cluster {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let apiserver = Arc::new(Apiserver::default());
        let server = tonic::transport::Server::builder()
            .add_service(ResourcesServer::new(Served(apiserver.clone())))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        tokio::spawn(server);
        let folder = std::env::temp_dir().join(format!("gantry-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let config = format!(
            "clusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        );
        std::fs::write(folder.join("config"), config).unwrap();
        Cluster { apiserver, folder }
    }

    fn gantry(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_gantry"))
            .arg("--kubeconfig")
            .arg(self.folder.join("config"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn a_watch_goes_on_through_an_apiserver_that_is_started_again_and_has_forgotten() {
    let cluster = Cluster::start("watch").await;
    let mut gantry = cluster.gantry(&["get", "configmaps", "-w", "-o", "name"]);
    let mut lines = BufReader::new(gantry.stdout.take().unwrap()).lines();
    for number in 1..=6 {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("c{number} is not told"));
        assert_eq!(line.unwrap(), Some(format!("configmap/c{number}")));
    }
    gantry.kill().await.unwrap();
}

#[tokio::test]
async fn a_document_that_is_wrong_keeps_the_others_from_nothing_and_is_told_at_the_end() {
    let cluster = Cluster::start("apply").await;
    let mut gantry = cluster.gantry(&["apply", "-f", "-"]);
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfgMap\n---\n\
                    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";
    let mut input = gantry.stdin.take().unwrap();
    input.write_all(manifest.as_bytes()).await.unwrap();
    drop(input);
    let output = tokio::time::timeout(DEADLINE, gantry.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(out, "configmap/a created\nconfigmap/b created\n", "{error}");
    assert!(error.contains("did you mean \"ConfigMap\"?"), "{error}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(cluster.apiserver.created.load(Ordering::SeqCst), 2);
}
