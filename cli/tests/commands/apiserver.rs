//! An apiserver in memory, as far as the commands need one: objects of every kind at revisions, patches, watches, graceful
//! deletion of pods, and evictions that a budget may refuse.

use gantry_proto::any::Any;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::resources_server::{Resources, ResourcesServer};
use gantry_proto::api::v1::{self as api, Object, PatchType, WatchEvent, WatchReply};
use gantry_proto::meta::v1::Status;
use gantry_proto::selector::Selector;
use gantry_proto::status::Reason;
use gantry_proto::{Key, KindInfo, patch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status as Refusal};

/// A command that hangs is a failure, and this is longer than any takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Changes that a watch may be behind.
const HISTORY: usize = 1024;

/// What happened to which object.
#[derive(Clone)]
struct Change {
    what: &'static str,
    resource: String,
    key: Key,
    revision: i64,
    raw: Vec<u8>,
}

#[derive(Default)]
struct State {
    revision: i64,
    objects: BTreeMap<(String, Key), Value>,
    /// What was asked for, in the order of asking: reads are left out.
    writes: Vec<String>,
    /// Evictions that are still refused, as by a disruption budget.
    refused_evictions: usize,
    /// Conflicts that patches still meet.
    conflicts: usize,
    watches: usize,
    history: Vec<Change>,
}

pub struct Apiserver {
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
}

impl Apiserver {
    fn new() -> Apiserver {
        Apiserver {
            state: Mutex::default(),
            changes: broadcast::channel(HISTORY).0,
        }
    }

    pub fn put(&self, mut value: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let kind = KindInfo::of_object(&text(&value["apiVersion"]), &text(&value["kind"])).unwrap();
        if kind.namespaced && value["metadata"]["namespace"].is_null() {
            value["metadata"]["namespace"] = "default".into();
        }
        let key = Key::new(
            text(&value["metadata"]["namespace"]),
            text(&value["metadata"]["name"]),
        );
        self.store(kind, &key, Some(value));
    }

    pub fn remove(&self, resource: &str, name: &str) {
        let kind = KindInfo::of_resource(resource).unwrap();
        let namespace = if kind.namespaced { "default" } else { "" };
        self.store(kind, &Key::new(namespace, name), None);
    }

    pub fn refuse_evictions(&self, count: usize) {
        self.state.lock().unwrap().refused_evictions = count;
    }

    pub fn refuse_patches(&self, count: usize) {
        self.state.lock().unwrap().conflicts = count;
    }

    /// Returns when somebody has begun to watch something.
    pub async fn watched(&self) {
        while self.state.lock().unwrap().watches == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What has been written so far.
    pub fn writes(&self) -> Vec<String> {
        self.state.lock().unwrap().writes.clone()
    }

    pub fn object(&self, resource: &str, name: &str) -> Value {
        let kind = KindInfo::of_resource(resource).unwrap();
        let namespace = if kind.namespaced { "default" } else { "" };
        self.read(kind, &Key::new(namespace, name)).unwrap_or_default()
    }

    fn read(&self, kind: &KindInfo, key: &Key) -> Option<Value> {
        let state = self.state.lock().unwrap();
        state.objects.get(&(kind.group_resource(), key.clone())).cloned()
    }

    /// Stores an object at a new revision, or removes it. Returns it as it is told.
    fn store(&self, kind: &KindInfo, key: &Key, value: Option<Value>) -> Value {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let revision = state.revision;
        let slot = (kind.group_resource(), key.clone());
        let before = state.objects.get(&slot).cloned();
        let (what, mut value) = match (before, value) {
            (None, Some(value)) => ("ADDED", value),
            (Some(_), Some(value)) => ("MODIFIED", value),
            (before, None) => ("DELETED", before.unwrap_or_default()),
        };
        value["metadata"]["resourceVersion"] = revision.to_string().into();
        if value["metadata"]["uid"].is_null() {
            value["metadata"]["uid"] = format!("uid-{revision}").into();
        }
        // What the schema does not have is dropped, and what it always has is there.
        let raw = (kind.encode_json)(&value).unwrap().0;
        let value = (kind.decode_json)(&raw).unwrap();
        match what {
            "DELETED" => drop(state.objects.remove(&slot)),
            _ => drop(state.objects.insert(slot, value.clone())),
        }
        let change = Change {
            what,
            resource: kind.group_resource(),
            key: key.clone(),
            revision,
            raw: raw.to_vec(),
        };
        state.history.push(change.clone());
        let _ = self.changes.send(change);
        value
    }

    fn note(&self, write: String) {
        self.state.lock().unwrap().writes.push(write);
    }
}

fn kind_of(resource: &str) -> Result<&'static KindInfo, Refusal> {
    KindInfo::of_resource(resource).ok_or_else(|| Refusal::not_found("no such resource"))
}

fn reply(kind: &KindInfo, value: &Value) -> Response<api::ObjectReply> {
    Response::new(api::ObjectReply {
        object: Some(told(kind, (kind.encode_json)(value).unwrap().0.to_vec())),
        warnings: Vec::new(),
    })
}

fn told(kind: &KindInfo, raw: Vec<u8>) -> Object {
    Object {
        form: Some(Form::Any(Any::new(kind.message, raw.into()))),
    }
}

fn given(object: Option<Object>, kind: &KindInfo) -> Value {
    match object.and_then(|object| object.form) {
        Some(Form::Any(any)) => (kind.decode_json)(&any.value).unwrap(),
        _ => Value::Null,
    }
}

/// The selectors that the tests use: label equality, and fields by their JSON names.
fn matches(value: &Value, labels: &str, fields: &str) -> bool {
    let own: BTreeMap<String, String> = value["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_string()))
        .collect();
    let field = |pair: &str| {
        let (path, expected) = pair.split_once('=').unwrap();
        let pointer = format!("/{}", path.replace('.', "/"));
        value
            .pointer(&pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            == expected
    };
    Selector::parse(labels).unwrap().matches(&own)
        && fields.split(',').filter(|pair| !pair.is_empty()).all(field)
}

type Reply = Result<Response<api::ObjectReply>, Refusal>;

struct Served(Arc<Apiserver>);

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
        let request = request.into_inner();
        let kind = kind_of(&request.resource)?;
        match self.0.read(kind, &Key::new(&request.namespace, &request.name)) {
            Some(value) => Ok(reply(kind, &value)),
            None => Err(Status::not_found(kind, &request.name).into()),
        }
    }

    async fn list(&self, request: Request<api::ListRequest>) -> Result<Response<api::ListReply>, Refusal> {
        let request = request.into_inner();
        let kind = kind_of(&request.resource)?;
        let state = self.0.state.lock().unwrap();
        let is_meant = |key: &Key| request.namespace.is_empty() || key.namespace == request.namespace;
        let all: Vec<&Value> = state
            .objects
            .iter()
            .filter(|((resource, key), _)| *resource == kind.group_resource() && is_meant(key))
            .map(|(_, value)| value)
            .filter(|value| matches(value, &request.label_selector, &request.field_selector))
            .collect();
        // The token is how many were told already.
        let start: usize = request.r#continue.parse().unwrap_or(0);
        let limit = match usize::try_from(request.limit) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(limit) => limit,
        };
        let end = start.saturating_add(limit).min(all.len());
        let items = all[start..end]
            .iter()
            .map(|value| told(kind, (kind.encode_json)(value).unwrap().0.to_vec()));
        Ok(Response::new(api::ListReply {
            items: items.collect(),
            resource_version: state.revision.to_string(),
            r#continue: if end < all.len() {
                end.to_string()
            } else {
                String::new()
            },
            ..Default::default()
        }))
    }

    async fn watch(
        &self,
        request: Request<api::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Refusal> {
        let request = request.into_inner();
        let kind = kind_of(&request.resource)?;
        let after: i64 = request.resource_version.parse().unwrap_or(0);
        let (past, future) = {
            let mut state = self.0.state.lock().unwrap();
            state.watches += 1;
            (
                state.history.clone(),
                BroadcastStream::new(self.0.changes.subscribe()),
            )
        };
        let seen = move |change: Change| {
            let value = (kind.decode_json)(&change.raw).unwrap();
            let meant = change.resource == kind.group_resource()
                && change.revision > after
                && (request.namespace.is_empty() || change.key.namespace == request.namespace)
                && matches(&value, &request.label_selector, &request.field_selector);
            meant.then(|| {
                let event = WatchEvent {
                    r#type: change.what.into(),
                    object: Some(told(kind, change.raw)),
                    revision: change.revision,
                    ..WatchEvent::default()
                };
                Ok(WatchReply { events: vec![event] })
            })
        };
        let all = tokio_stream::iter(past).chain(future.filter_map(Result::ok));
        Ok(Response::new(Box::pin(all.filter_map(seen))))
    }

    async fn create(&self, request: Request<api::CreateRequest>) -> Reply {
        let request = request.into_inner();
        let kind = kind_of(&request.resource)?;
        let note = |what: &str| {
            let dry = if request.dry_run { " dry" } else { "" };
            self.0.note(format!("{what}{dry}"));
        };
        if request.subresource == "eviction" {
            let key = Key::new(&request.namespace, &request.name);
            note(&format!("evict {}", request.name));
            let mut state = self.0.state.lock().unwrap();
            if state.refused_evictions > 0 {
                state.refused_evictions -= 1;
                let why = "Cannot evict pod as it would violate the pod's disruption budget.";
                return Err(Status::failure(Reason::TooManyRequests, why).into());
            }
            drop(state);
            if !request.dry_run {
                self.0.store(kind, &key, None);
            }
            return Ok(Response::new(api::ObjectReply::default()));
        }
        let value = given(request.object, kind);
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_string();
        let key = Key::new(&request.namespace, &name);
        note(&format!("create {}/{name}", kind.resource));
        if self.0.read(kind, &key).is_some() {
            return Err(Status::already_exists(kind, &name).into());
        }
        if request.dry_run {
            return Ok(reply(kind, &value));
        }
        Ok(reply(kind, &self.0.store(kind, &key, Some(value))))
    }

    async fn update(&self, _: Request<api::UpdateRequest>) -> Reply {
        Err(Refusal::unimplemented("the commands replace nothing"))
    }

    async fn patch(&self, request: Request<api::PatchRequest>) -> Reply {
        let request = request.into_inner();
        let kind = kind_of(&request.resource)?;
        let key = Key::new(&request.namespace, &request.name);
        let patch: Value = serde_json::from_slice(&request.patch).unwrap();
        let dry = if request.dry_run { " dry" } else { "" };
        self.0
            .note(format!("patch {}/{} {patch}{dry}", kind.resource, request.name));
        let Some(current) = self.0.read(kind, &key) else {
            return Err(Status::not_found(kind, &request.name).into());
        };
        {
            let mut state = self.0.state.lock().unwrap();
            if state.conflicts > 0 {
                state.conflicts -= 1;
                let why = "the object has been modified; please apply your changes to the latest version and try again";
                return Err(Status::conflict(kind, &request.name, why).into());
            }
        }
        let version = &patch["metadata"]["resourceVersion"];
        if version.is_string() && *version != current["metadata"]["resourceVersion"] {
            return Err(Status::conflict(kind, &request.name, "the object has been modified").into());
        }
        let patched = match request.r#type() {
            PatchType::StrategicMerge => {
                patch::strategic_merge(kind.message, current.clone(), patch).unwrap()
            }
            _ => patch::merge(current.clone(), patch),
        };
        // As the server's own rules would have it.
        if patched["spec"]["replicas"]
            .as_i64()
            .is_some_and(|replicas| replicas < 0)
        {
            let cause = gantry_proto::meta::v1::StatusCause {
                field: "spec.replicas".into(),
                message: "Invalid value: -1: must be greater than or equal to 0".into(),
                reason: "FieldValueInvalid".into(),
            };
            return Err(Status::invalid(kind, &request.name, vec![cause]).into());
        }
        match request.dry_run || patched == current {
            true => Ok(reply(kind, &patched)),
            false => Ok(reply(kind, &self.0.store(kind, &key, Some(patched)))),
        }
    }

    /// Pods end at once where they have no grace, and are only marked otherwise; everything else is gone at once.
    async fn delete(&self, request: Request<api::DeleteRequest>) -> Reply {
        let request = request.into_inner();
        let kind = kind_of(&request.resource)?;
        let key = Key::new(&request.namespace, &request.name);
        let options = request.options.unwrap_or_default();
        let grace = options
            .grace_period_seconds
            .map_or("-".into(), |seconds| seconds.to_string());
        let policy = options.propagation_policy.clone().unwrap_or_default();
        let dry = if options.dry_run.is_empty() { "" } else { " dry" };
        self.0.note(format!(
            "delete {}/{} grace {grace} {policy}{dry}",
            kind.resource, request.name
        ));
        let Some(mut current) = self.0.read(kind, &key) else {
            return Err(Status::not_found(kind, &request.name).into());
        };
        if !options.dry_run.is_empty() {
            return Ok(reply(kind, &current));
        }
        if kind.resource == "pods" && options.grace_period_seconds != Some(0) {
            current["metadata"]["deletionTimestamp"] = "2026-11-20T12:00:00Z".into();
            return Ok(reply(kind, &self.0.store(kind, &key, Some(current))));
        }
        self.0.store(kind, &key, None);
        Ok(reply(kind, &current))
    }

    async fn delete_collection(
        &self,
        _: Request<api::DeleteCollectionRequest>,
    ) -> Result<Response<api::ListReply>, Refusal> {
        Err(Refusal::unimplemented("the commands delete one by one"))
    }
}

/// A running apiserver and a kubeconfig for it.
pub struct Cluster {
    pub apiserver: Arc<Apiserver>,
    pub folder: PathBuf,
}

/// What a command said, and what it ended with.
#[derive(Debug, PartialEq)]
pub struct Said {
    pub out: String,
    pub error: String,
    pub code: i32,
}

impl Cluster {
    pub async fn start(name: &str) -> Cluster {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let apiserver = Arc::new(Apiserver::new());
        let server = tonic::transport::Server::builder()
            .add_service(ResourcesServer::new(Served(apiserver.clone())))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        tokio::spawn(server);
        let folder = std::env::temp_dir().join(format!("gantry-commands-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let config = format!(
            "clusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        );
        std::fs::write(folder.join("config"), config).unwrap();
        Cluster { apiserver, folder }
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
        command
            .arg("--kubeconfig")
            .arg(self.folder.join("config"))
            .args(line.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command whose words are parted by blanks.
    pub async fn run(&self, line: &str) -> Said {
        self.run_with(&mut self.command(line), "").await
    }

    pub async fn run_with(&self, command: &mut Command, input: &str) -> Said {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("{command:?} hangs"))
            .unwrap();
        Said {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Runs a command that is to succeed and say this, and nothing on standard error.
    pub async fn check(&self, line: &str, expected: &str) {
        let said = self.run(line).await;
        let expected = Said {
            out: expected.into(),
            error: String::new(),
            code: 0,
        };
        assert_eq!(said, expected, "{line}");
    }

    /// Runs a command that is to fail with this code and say this on standard error.
    pub async fn check_failure(&self, line: &str, code: i32, expected: &str) {
        let said = self.run(line).await;
        assert_eq!(
            (said.code, said.error.as_str()),
            (code, expected),
            "{line}: {}",
            said.out
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn pod(name: &str, node: &str, more: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "i:1"}]}, "status": {"phase": "Running"}});
    for (key, field) in more.as_object().into_iter().flatten() {
        pod["metadata"][key] = field.clone();
    }
    pod
}
