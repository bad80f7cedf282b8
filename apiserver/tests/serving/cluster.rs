//! An apiserver in this process on a real etcd, and clients of it with certificates of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gantry_apiserver::{Config, audit, limits, run_on};
use gantry_proto::any::Any;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::resources_client::ResourcesClient;
use gantry_proto::api::v1::{self as api};
use gantry_proto::meta::v1::Status;
use gantry_proto::{Kind, json, status};
use gantry_store::suite::etcd_server::EtcdServer;
use gantry_store::suite::proxy::Proxy;
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

/// Far more than anything takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub struct Cluster {
    pub etcd: EtcdServer,
    pub address: SocketAddr,
    pub metrics: Registry,
    pub files: Files,
    stop: CancellationToken,
}

pub struct Files {
    pub folder: PathBuf,
    pub limits: limits::Config,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Cluster {
    pub async fn start() -> Cluster {
        let etcd = EtcdServer::start().await;
        let way = etcd.config();
        Cluster::start_on(etcd, way, Files::new(), audit::Config::default()).await
    }

    /// A cluster whose server records what `policy` says in `log`, in the folder of its files.
    pub async fn start_audited(policy: &str, log: &str, prepare: impl FnOnce(&Path)) -> Cluster {
        let etcd = EtcdServer::start().await;
        let way = etcd.config();
        let files = Files::new();
        prepare(&files.folder);
        let policy_file = files.folder.join("policy.yaml");
        fs::write(&policy_file, policy).unwrap();
        let audit = audit::Config {
            policy_file: Some(policy_file),
            log: Some(audit::Log::File {
                path: files.folder.join(log),
                max_megabytes: 100,
                max_backups: 1,
            }),
        };
        Cluster::start_on(etcd, way, files, audit).await
    }

    /// A cluster whose server reaches etcd through a proxy that can lose replies.
    pub async fn start_behind_proxy() -> (Cluster, Proxy) {
        let etcd = EtcdServer::start().await;
        let proxy = Proxy::start(etcd.address()).await;
        let way = etcd.config_by_way_of(proxy.address());
        let cluster = Cluster::start_on(etcd, way, Files::new(), audit::Config::default()).await;
        (cluster, proxy)
    }

    /// A cluster whose server has these limits, and reaches etcd through a proxy that can lose replies.
    pub async fn start_limited(limits: limits::Config) -> (Cluster, Proxy) {
        let etcd = EtcdServer::start().await;
        let proxy = Proxy::start(etcd.address()).await;
        let way = etcd.config_by_way_of(proxy.address());
        let mut files = Files::new();
        files.limits = limits;
        let cluster = Cluster::start_on(etcd, way, files, audit::Config::default()).await;
        (cluster, proxy)
    }

    async fn start_on(
        etcd: EtcdServer,
        way: gantry_store::etcd::Config,
        files: Files,
        audit: audit::Config,
    ) -> Cluster {
        let stop = CancellationToken::new();
        let metrics = Registry::new();
        let address = serve(way, &files, audit, metrics.clone(), &stop).await;
        let cluster = Cluster {
            etcd,
            address,
            metrics,
            files,
            stop,
        };
        cluster.anonymous().await.ready().await;
        cluster
    }

    /// A second server on the same etcd.
    pub async fn another_server(&self) -> SocketAddr {
        self.another_server_by(self.etcd.config()).await
    }

    /// A second server that reaches etcd in this way.
    pub async fn another_server_by(&self, way: gantry_store::etcd::Config) -> SocketAddr {
        let address = serve(
            way,
            &self.files,
            audit::Config::default(),
            Registry::new(),
            &self.stop,
        )
        .await;
        Client(self.connect(address, None).await).ready().await;
        address
    }

    pub async fn admin(&self) -> Client {
        self.client("kubernetes-admin", &["system:masters"]).await
    }

    pub async fn client(&self, user: &str, groups: &[&str]) -> Client {
        self.client_of(self.address, user, groups).await
    }

    pub async fn client_of(&self, address: SocketAddr, user: &str, groups: &[&str]) -> Client {
        let identity = self.files.identity(user, groups);
        Client(self.connect(address, Some(identity)).await)
    }

    pub async fn anonymous(&self) -> Client {
        Client(self.connect(self.address, None).await)
    }

    async fn connect(&self, address: SocketAddr, identity: Option<Identity>) -> Channel {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.files.ca.pem()))
            .domain_name("localhost");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = fs::remove_dir_all(&self.files.folder);
    }
}

async fn serve(
    etcd: gantry_store::etcd::Config,
    files: &Files,
    audit: audit::Config,
    metrics: Registry,
    stop: &CancellationToken,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = files.config(address, etcd.clone(), audit);
    let store = gantry_store::etcd::connect(etcd).await.unwrap();
    let running = run_on(listener, store, config, Health::new(), metrics, stop.clone());
    tokio::spawn(async move { running.await.unwrap() });
    address
}

impl Files {
    pub fn config(
        &self,
        address: SocketAddr,
        etcd: gantry_store::etcd::Config,
        audit: audit::Config,
    ) -> Config {
        Config {
            listen: address,
            tls_certificate: self.folder.join("server.crt"),
            tls_key: self.folder.join("server.key"),
            client_ca: self.folder.join("ca.crt"),
            etcd,
            kubelet_client_certificate: self.folder.join("server.crt"),
            kubelet_client_key: self.folder.join("server.key"),
            advertise: Some([192, 0, 2, 1].into()),
            service_cidr: "10.96.0.0/28".into(),
            node_ports: 30000..=30003,
            audit,
            limits: self.limits,
        }
    }

    pub fn new() -> Files {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("gantry-apiserver-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
        let files = Files {
            folder,
            limits: limits::Config::default(),
            ca,
        };
        let (certificate, key) = files.sign("kube-apiserver", &[], &["localhost", "127.0.0.1"]);
        fs::write(files.folder.join("server.crt"), certificate).unwrap();
        fs::write(files.folder.join("server.key"), key).unwrap();
        files
    }

    fn identity(&self, user: &str, groups: &[&str]) -> Identity {
        let (certificate, key) = self.sign(user, groups, &[]);
        Identity::from_pem(certificate, key)
    }

    /// A certificate and its key, in PEM.
    pub fn sign(&self, name: &str, groups: &[&str], addresses: &[&str]) -> (String, String) {
        let addresses: Vec<String> = addresses.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(addresses).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Calls that say what a test is about.
#[derive(Clone)]
pub struct Client(pub Channel);

impl Client {
    /// Waits until the server says that it is ready.
    pub async fn ready(&self) {
        let mut health = HealthClient::new(self.0.clone());
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let reply = health
                .check(HealthCheckRequest::default())
                .await
                .unwrap()
                .into_inner();
            if reply.status() == ServingStatus::Serving {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the server must become ready"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    pub fn resources(&self) -> ResourcesClient<Channel> {
        ResourcesClient::new(self.0.clone()).max_decoding_message_size(64 << 20)
    }

    pub async fn create<K: Kind>(&self, object: &K) -> Result<K, Status> {
        let request = api::CreateRequest {
            object: Some(wire(object)),
            ..Default::default()
        };
        self.resources().create(request).await.map_err(failure).map(typed)
    }

    /// Creates from Kubernetes JSON and returns the reply with its warnings.
    pub async fn create_json(
        &self,
        text: &str,
        validation: api::FieldValidation,
    ) -> Result<(serde_json::Value, Vec<String>), Status> {
        let request = api::CreateRequest {
            object: Some(json_form(text)),
            field_validation: validation.into(),
            ..Default::default()
        };
        let reply = self
            .resources()
            .create(request)
            .await
            .map_err(failure)?
            .into_inner();
        match reply.object.and_then(|object| object.form) {
            Some(Form::Json(object)) => Ok((json::struct_to_value(object), reply.warnings)),
            other => panic!("asked in JSON, answered with {other:?}"),
        }
    }

    pub async fn update<K: Kind>(&self, subresource: &str, object: &K) -> Result<K, Status> {
        let request = api::UpdateRequest {
            subresource: subresource.into(),
            object: Some(wire(object)),
            ..Default::default()
        };
        self.resources().update(request).await.map_err(failure).map(typed)
    }

    pub async fn patch<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: &str,
    ) -> Result<K, Status> {
        let request = api::PatchRequest {
            resource: K::INFO.group_resource(),
            namespace: namespace.into(),
            name: name.into(),
            subresource: subresource.into(),
            r#type: api::PatchType::StrategicMerge.into(),
            patch: patch.as_bytes().to_vec().into(),
            ..Default::default()
        };
        self.resources().patch(request).await.map_err(failure).map(typed)
    }

    pub async fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<K, Status> {
        let request = api::GetRequest {
            resource: K::INFO.group_resource(),
            namespace: namespace.into(),
            name: name.into(),
            ..Default::default()
        };
        self.resources().get(request).await.map_err(failure).map(typed)
    }

    pub async fn delete<K: Kind>(
        &self,
        namespace: &str,
        name: &str,
        options: gantry_proto::meta::v1::DeleteOptions,
    ) -> Result<K, Status> {
        let request = api::DeleteRequest {
            resource: K::INFO.group_resource(),
            namespace: namespace.into(),
            name: name.into(),
            options: Some(options),
            ..Default::default()
        };
        self.resources().delete(request).await.map_err(failure).map(typed)
    }

    pub async fn list<K: Kind>(&self, request: api::ListRequest) -> Result<(Vec<K>, api::ListReply), Status> {
        let request = api::ListRequest {
            resource: K::INFO.group_resource(),
            ..request
        };
        let reply = self
            .resources()
            .list(request)
            .await
            .map_err(failure)?
            .into_inner();
        let items = reply.items.iter().map(|item| decode(item.clone())).collect();
        Ok((items, reply))
    }

    pub async fn watch<K: Kind>(&self, request: api::WatchRequest) -> Result<Watch, Status> {
        let request = api::WatchRequest {
            resource: K::INFO.group_resource(),
            ..request
        };
        let stream = self
            .resources()
            .watch(request)
            .await
            .map_err(failure)?
            .into_inner();
        Ok(Watch {
            stream,
            pending: Vec::new(),
        })
    }
}

/// A watch, one event at a time.
pub struct Watch {
    stream: tonic::Streaming<api::WatchReply>,
    pending: Vec<api::WatchEvent>,
}

impl Watch {
    /// The next event, or `None` when the watch has ended.
    pub async fn next(&mut self) -> Option<api::WatchEvent> {
        while self.pending.is_empty() {
            let reply = tokio::time::timeout(DEADLINE, self.stream.message()).await;
            let reply = reply
                .expect("an event within the deadline")
                .expect("the watch goes on")?;
            self.pending = reply.events;
        }
        Some(self.pending.remove(0))
    }

    /// What an ERROR says, which is the last of its watch.
    pub async fn ended_after(&mut self, event: api::WatchEvent) -> Status {
        assert_eq!(event.r#type, "ERROR");
        assert!(self.next().await.is_none(), "an error ends the watch");
        event.error.expect("an error says why")
    }

    /// The next event's type, name and revision.
    pub async fn told<K: Kind>(&mut self) -> (String, String, i64) {
        let event = self.next().await.expect("the watch goes on");
        let name = event
            .object
            .map(|object| decode::<K>(object).metadata().name.clone());
        (event.r#type, name.unwrap_or_default(), event.revision)
    }
}

pub fn failure(error: tonic::Status) -> Status {
    assert!(!error.details().is_empty(), "a failure says why: {error:?}");
    status::of_grpc(&error)
}

pub fn wire<K: Kind>(object: &K) -> api::Object {
    api::Object {
        form: Some(Form::Any(Any::new(
            K::INFO.message,
            object.encode_to_vec().into(),
        ))),
    }
}

pub fn json_form(text: &str) -> api::Object {
    let value = serde_json::from_str(text).unwrap();
    api::Object {
        form: Some(Form::Json(json::value_to_struct(value))),
    }
}

pub fn decode<K: Kind>(object: api::Object) -> K {
    match object.form {
        Some(Form::Any(any)) => {
            assert_eq!(any.message(), K::INFO.message);
            K::decode(&*any.value).unwrap()
        }
        other => panic!("not in wire form: {other:?}"),
    }
}

fn typed<K: Kind>(reply: tonic::Response<api::ObjectReply>) -> K {
    decode(reply.into_inner().object.unwrap())
}

/// An object of a kind from its JSON.
pub fn object<K: Kind>(text: &str) -> K {
    json::decode(text.as_bytes()).unwrap().object
}
