//! What is served on the one port: gRPC, and a few pages by HTTP.

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing};
use gantry_proto::api::v1::diagnostics_server::DiagnosticsServer;
use gantry_proto::api::v1::nodes_server::NodesServer;
use gantry_proto::api::v1::pods_server::PodsServer;
use gantry_proto::api::v1::resources_server::ResourcesServer;
use gantry_proto::api::v1::traces_server::TracesServer;
use gantry_proto::schema;
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry as MetricsRegistry;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Builder as Reflection;

use crate::authorization;
use crate::limits::{self, Gate};
use crate::metrics::Authorizations;
use crate::node_streams::NodeStreams;
use crate::request::Sender;
use crate::services::diagnostics::DiagnosticsService;
use crate::services::nodes::NodesService;
use crate::services::pods::PodsService;
use crate::services::resources::ResourcesService;
use crate::services::traces::TracesService;
use crate::services::{MAX_MESSAGE_BYTES, SERVER_VERSION};

/// What reflection lists. The schema has services of other components too.
const SERVICES: [&str; 8] = [
    "gantry.api.v1.Resources",
    "gantry.api.v1.Pods",
    "gantry.api.v1.Nodes",
    "gantry.api.v1.Diagnostics",
    "gantry.api.v1.Traces",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Everything that can be asked of the server.
pub fn router(
    resources: ResourcesService,
    nodes: Arc<NodeStreams>,
    health: Health,
    health_reporter: HealthReporter,
    metrics: MetricsRegistry,
    gate: Arc<Gate>,
) -> anyhow::Result<Router> {
    let authorizations = resources.registry.authorizations().clone();
    let pages = gantry_telemetry::serve::router(metrics, health)
        .route("/version", routing::get(version))
        .layer(middleware::from_fn_with_state(authorizations, check_page));
    let counted = resources.metrics.clone();
    Ok(grpc(resources, nodes, health_reporter)?
        .into_axum_router()
        .layer(middleware::from_fn_with_state((gate, counted), limits::limit))
        .merge(pages)
        .fallback(unknown))
}

fn grpc(
    resources: ResourcesService,
    nodes: Arc<NodeStreams>,
    health_reporter: HealthReporter,
) -> anyhow::Result<Routes> {
    let (registry, metrics) = (resources.registry.clone(), resources.metrics.clone());
    let pods = PodsService {
        registry: registry.clone(),
        nodes: nodes.clone(),
        metrics: metrics.clone(),
    };
    let diagnostics = DiagnosticsService {
        registry: registry.clone(),
        nodes: nodes.clone(),
        metrics: metrics.clone(),
    };
    let traces = TracesService {
        registry: registry.clone(),
        nodes: nodes.clone(),
        metrics: metrics.clone(),
    };
    let nodes = NodesService {
        registry,
        nodes,
        metrics,
    };
    let reflection = || {
        let described = [
            schema::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let builder = described.into_iter().fold(
            Reflection::configure().include_reflection_service(false),
            Reflection::register_encoded_file_descriptor_set,
        );
        SERVICES.into_iter().fold(builder, Reflection::with_service_name)
    };
    Ok(Routes::new(
        ResourcesServer::new(resources)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(usize::MAX),
    )
    .add_service(PodsServer::new(pods).max_decoding_message_size(MAX_MESSAGE_BYTES))
    .add_service(NodesServer::new(nodes).max_decoding_message_size(MAX_MESSAGE_BYTES))
    .add_service(DiagnosticsServer::new(diagnostics).max_decoding_message_size(MAX_MESSAGE_BYTES))
    .add_service(TracesServer::new(traces).max_decoding_message_size(MAX_MESSAGE_BYTES))
    .add_service(HealthServer::new(
        tonic_health::server::HealthService::from_health_reporter(health_reporter),
    ))
    .add_service(reflection().build_v1().context("describing the services")?)
    .add_service(reflection().build_v1alpha().context("describing the services")?))
}

/// Health and version are anybody's business; metrics and single checks are not.
async fn check_page(
    State(authorizations): State<Arc<Authorizations>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let open = matches!(path, "/livez" | "/readyz" | "/healthz" | "/version");
    let sender = request.extensions().get::<Sender>();
    if open {
        authorizations.decided(None);
        if let Some(sender) = sender {
            sender
                .trail
                .authorized(true, || "allowed to everybody".to_owned());
        }
        return next.run(request).await;
    }
    let denial = match sender {
        Some(sender) => authorization::inspect(&sender.user, &sender.trail),
        None => Some(authorization::Denial::NoRule(String::new())),
    };
    authorizations.decided(denial.as_ref());
    if denial.is_none() {
        return next.run(request).await;
    }
    let name = sender.map_or(crate::authentication::ANONYMOUS, |sender| {
        sender.user.name.as_str()
    });
    let text = format!("Forbidden: User \"{name}\" cannot get path \"{path}\"\n");
    (StatusCode::FORBIDDEN, text).into_response()
}

/// What is not there, in the words of the protocol that asked.
async fn unknown(request: Request) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if grpc {
        let path = request.uri().path();
        return tonic::Status::unimplemented(format!("the server has no method {path}")).into_http();
    }
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

async fn version() -> Response {
    let version = serde_json::json!({
        "major": "1",
        "minor": "36",
        "gitVersion": SERVER_VERSION,
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    });
    ([(header::CONTENT_TYPE, "application/json")], version.to_string()).into_response()
}
