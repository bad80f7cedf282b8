//! The listener on which the apiserver asks. Only certificates of the cluster's administrators, of which the
//! apiserver's is one, may.

use crate::Config;
use crate::explain::Questions;
use anyhow::Context as _;
use gantry_proto::Key;
use gantry_proto::api::v1::{WhyReply, WhyRequest};
use gantry_proto::meta::v1::Status;
use gantry_proto::scheduler::v1::explain_server::{Explain, ExplainServer};
use gantry_proto::status::Reason;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response};

/// Questions that are answered at once on one connection.
const CONCURRENT_QUESTIONS: usize = 16;

pub async fn serve(
    config: &Config,
    questions: watch::Receiver<Option<Questions>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let read =
        |path: &std::path::Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(
            read(&config.tls_cert)?,
            read(&config.tls_key)?,
        ))
        .client_ca_root(Certificate::from_pem(read(&config.ca)?));
    Server::builder()
        .tls_config(tls)
        .context("the scheduler's certificate")?
        .concurrency_limit_per_connection(CONCURRENT_QUESTIONS)
        .layer(gantry_telemetry::trace::ServerLayer)
        .add_service(ExplainServer::new(Answers { questions }))
        .serve_with_shutdown(config.listen, shutdown.cancelled_owned())
        .await
        .with_context(|| format!("serving on {}", config.listen))
}

struct Answers {
    questions: watch::Receiver<Option<Questions>>,
}

#[tonic::async_trait]
impl Explain for Answers {
    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyReply>, tonic::Status> {
        authorize(&request)?;
        let request = request.into_inner();
        if request.resource != "pods" {
            let message = format!(
                "there is no answer about {:?}, only about \"pods\"",
                request.resource
            );
            return Err(Status::failure(Reason::BadRequest, message).into());
        }
        let questions = self.questions.borrow().clone();
        let Some(questions) = questions.filter(Questions::synced) else {
            let message = "the scheduler has not seen the whole cluster yet, or another one leads; ask again in a moment";
            return Err(Status::failure(Reason::ServiceUnavailable, message).into());
        };
        let key = Key::new(request.namespace, request.name);
        match questions.why(&key).await {
            Some(reply) => Ok(Response::new(reply)),
            None => Err(Status::not_found(
                <gantry_proto::core::v1::Pod as gantry_proto::Kind>::INFO,
                &key.name,
            )
            .into()),
        }
    }
}

/// The organisation whose members may ask: the apiserver's client certificate names it.
const ASKERS: &str = "system:masters";

fn authorize<T>(request: &Request<T>) -> Result<(), tonic::Status> {
    let certificates = request.peer_certs().unwrap_or_default();
    if certificates
        .first()
        .is_some_and(|certificate| is_of(certificate, ASKERS))
    {
        return Ok(());
    }
    Err(Status::failure(Reason::Forbidden, "only the apiserver may ask the scheduler").into())
}

/// Whether a certificate's subject names an organisation.
fn is_of(certificate: &[u8], organisation: &str) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else {
        return false;
    };
    certificate
        .subject()
        .iter_organization()
        .any(|name| name.as_str() == Ok(organisation))
}
