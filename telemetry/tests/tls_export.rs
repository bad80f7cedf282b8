//! Spans sent to a collector behind TLS. One test, because a process has one subscriber.

use std::time::Duration;

use gantry_telemetry::{Args, init};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

const DEADLINE: Duration = Duration::from_secs(20);

struct Collector(mpsc::UnboundedSender<String>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let _ = self.0.send(span.name);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_https_endpoint_receives_spans_when_its_authority_is_named() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let authority = std::env::temp_dir().join(format!("gantry-otlp-{}.crt", std::process::id()));
    std::fs::write(&authority, certified.cert.pem()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let identity = Identity::from_pem(certified.cert.pem(), certified.signing_key.serialize_pem());
    let (sender, mut names) = mpsc::unbounded_channel();
    let server = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .unwrap()
        .add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let telemetry = init(
        "gantry-test",
        &Args {
            otlp_endpoint: Some(format!("https://localhost:{port}")),
            otlp_certificate: Some(authority.clone()),
            ..Args::default()
        },
    )
    .unwrap();
    drop(tracing::info_span!("work", gantry.root = true));
    let name = tokio::time::timeout(DEADLINE, names.recv()).await.unwrap();
    assert_eq!(name.as_deref(), Some("work"));
    telemetry.shutdown();
    std::fs::remove_file(authority).unwrap();
}
