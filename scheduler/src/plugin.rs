//! Programs that add rules to a profile, asked over gRPC (gantry.scheduler.v1.Plugin).
//!
//! They are asked after the scheduler's own rules, about the nodes that those leave, by a task beside the one that
//! decides: a program that hangs costs its own profile's pods a deadline each, and not even that once the
//! [`breaker`] has opened; other pods go on. What they answer is data for the decision, which stays a pure function
//! ([`verdict`]).

mod breaker;
pub mod verdict;

pub use verdict::Verdict;

use crate::config::AddedPlugin;
use anyhow::Context as _;
use breaker::Breaker;
use gantry_proto::core::v1::{Node, Pod};
use gantry_proto::scheduler::v1::plugin_client::PluginClient;
use gantry_proto::scheduler::v1::{FilterReply, FilterRequest, ScoreReply, ScoreRequest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

/// The largest answer: a reason of 200 bytes for each of 20,000 nodes.
const MAX_REPLY_BYTES: usize = 4 << 20;
/// Of what a program says about its own failure so much is passed on.
const MAX_FAILURE_BYTES: usize = 256;
/// How often a connection that is in use is probed, so that a dead machine is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A program that is asked.
pub struct Added {
    pub plugin: AddedPlugin,
    client: PluginClient<Channel>,
    breaker: Mutex<Breaker>,
}

/// Why there is no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("plugin {plugin:?} did not answer within {deadline:?}")]
    Late { plugin: String, deadline: Duration },
    #[error("plugin {plugin:?} failed: {message}")]
    Failed { plugin: String, message: String },
    /// It was asked nothing: it has failed too often.
    #[error("plugin {plugin:?} is not asked for a while, because its last calls failed")]
    Open { plugin: String },
    #[error("plugin {plugin:?} told of node {node:?}, about which it was not asked")]
    Stranger { plugin: String, node: String },
    #[error(
        "plugin {plugin:?} returns an invalid score {score}, it should in the range of [0, 100] after normalizing"
    )]
    Score { plugin: String, score: i64 },
}

/// Reads a node by its name.
pub type NodeReader = Arc<dyn Fn(&str) -> Option<Node> + Send + Sync>;

/// What programs are asked about.
#[derive(Clone)]
pub struct Question {
    pub pod: Pod,
    pub names: Vec<Arc<str>>,
    /// The nodes themselves, in the same order; read only where a program wants them.
    pub nodes: NodeReader,
}

impl Added {
    /// Reads the certificates. The connection is made when the first question is asked.
    pub fn new(plugin: AddedPlugin) -> anyhow::Result<Added> {
        let mut endpoint = Endpoint::from_shared(plugin.address.clone())
            .with_context(|| format!("the address of plugin {:?}", plugin.name))?
            .connect_timeout(plugin.deadline)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        if let Some(tls) = &plugin.tls {
            let read = |path: &std::path::Path| {
                std::fs::read(path)
                    .with_context(|| format!("plugin {:?}: reading {}", plugin.name, path.display()))
            };
            let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&tls.ca)?));
            if let Some((certificate, key)) = &tls.client {
                config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            if let Some(name) = &tls.server_name {
                config = config.domain_name(name);
            }
            endpoint = endpoint
                .tls_config(config)
                .with_context(|| format!("the certificates of plugin {:?}", plugin.name))?;
        }
        let client = PluginClient::new(endpoint.connect_lazy()).max_decoding_message_size(MAX_REPLY_BYTES);
        Ok(Added {
            plugin,
            client,
            breaker: Mutex::default(),
        })
    }

    async fn filter(&self, pod: &Pod, names: &[Arc<str>], nodes: Vec<Node>) -> Result<FilterReply, Failure> {
        let request = FilterRequest {
            pod: Some(pod.clone()),
            node_names: strings(names),
            nodes,
        };
        let mut client = self.client.clone();
        let reply = self
            .call(request, async |request| client.filter(request).await)
            .await?;
        let strangers = reply.rejected.keys().chain(&reply.unresolvable);
        self.judged(self.check(strangers, names)).map(|()| reply)
    }

    async fn score(&self, pod: &Pod, names: &[Arc<str>], nodes: Vec<Node>) -> Result<ScoreReply, Failure> {
        let request = ScoreRequest {
            pod: Some(pod.clone()),
            node_names: strings(names),
            nodes,
        };
        let mut client = self.client.clone();
        let reply = self
            .call(request, async |request| client.score(request).await)
            .await?;
        let wrong = reply.scores.values().find(|score| !(0..=100).contains(*score));
        let checked = match wrong {
            Some(score) => Err(Failure::Score {
                plugin: self.plugin.name.clone(),
                score: *score,
            }),
            None => self.check(reply.scores.keys(), names),
        };
        self.judged(checked).map(|()| reply)
    }

    /// One call, within the deadline, unless the breaker is open.
    async fn call<Q, R>(
        &self,
        message: Q,
        send: impl AsyncFnOnce(Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let plugin = self.plugin.name.clone();
        if !self.breaker().admits(now()) {
            return Err(Failure::Open { plugin });
        }
        let deadline = self.plugin.deadline;
        let mut request = Request::new(message);
        // It is told to whom answers, and a little long: this side's own clock gives the call up.
        request.set_timeout(deadline * 2);
        if let Some(trace) = gantry_telemetry::trace::current_traceparent()
            && let Ok(trace) = trace.parse()
        {
            request.metadata_mut().insert("traceparent", trace);
        }
        let answer = match tokio::time::timeout(deadline, send(request)).await {
            Ok(Ok(reply)) => return Ok(reply.into_inner()),
            Ok(Err(status)) if status.code() == tonic::Code::DeadlineExceeded => {
                Failure::Late { plugin, deadline }
            }
            Ok(Err(status)) => Failure::Failed {
                plugin,
                message: shortened(status.message(), MAX_FAILURE_BYTES),
            },
            Err(_) => Failure::Late { plugin, deadline },
        };
        self.judged(Err(answer))
    }

    /// Tells the breaker how a call ended.
    fn judged<T>(&self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        match &outcome {
            Ok(_) => self.breaker().succeeded(),
            Err(failure) => {
                if self.breaker().failed(now()) {
                    let plugin = self.plugin.name.as_str();
                    tracing::warn!(plugin, error = %failure, "the plug-in fails and is not asked for a while");
                }
            }
        }
        outcome
    }

    fn check<'n>(&self, told: impl Iterator<Item = &'n String>, asked: &[Arc<str>]) -> Result<(), Failure> {
        // Names come in the order of a search, not sorted.
        let asked: std::collections::HashSet<&str> = asked.iter().map(|name| &**name).collect();
        match { told }.find(|name| !asked.contains(name.as_str())) {
            Some(node) => Err(Failure::Stranger {
                plugin: self.plugin.name.clone(),
                node: shortened(node, MAX_FAILURE_BYTES),
            }),
            None => Ok(()),
        }
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks all programs of a profile, one after the other, each about the nodes that those before it have left: first
/// which nodes the pod must not run on, then how well the others suit it.
pub async fn consult(added: &[Arc<Added>], question: Question) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::new(question.names.clone());
    for program in added.iter().filter(|added| added.plugin.filters) {
        let names = verdict.left();
        if names.is_empty() {
            break;
        }
        let nodes = wanted_nodes(program, &question, &names);
        match program.filter(&question.pod, &names, nodes).await {
            Ok(reply) => verdict.reject(&program.plugin.name, reply),
            Err(failure) if program.plugin.is_ignorable => passed_over(&failure),
            Err(failure) => return Err(failure),
        }
    }
    let mut scores: HashMap<Arc<str>, i64> = HashMap::new();
    for program in added {
        let (names, Some(weight)) = (verdict.left(), program.plugin.score_weight) else {
            continue;
        };
        if names.len() < 2 {
            break;
        }
        let nodes = wanted_nodes(program, &question, &names);
        match program.score(&question.pod, &names, nodes).await {
            Ok(reply) => {
                for name in names {
                    let score = reply.scores.get(&*name).copied().unwrap_or(0);
                    let sum = scores.entry(name).or_default();
                    *sum = sum.saturating_add(score.saturating_mul(weight));
                }
            }
            Err(failure) if program.plugin.is_ignorable => passed_over(&failure),
            Err(failure) => return Err(failure),
        }
    }
    verdict.set_scores(scores);
    Ok(verdict)
}

fn wanted_nodes(program: &Added, question: &Question, names: &[Arc<str>]) -> Vec<Node> {
    match program.plugin.wants_nodes {
        true => names
            .iter()
            .map(|name| (question.nodes)(name).unwrap_or_default())
            .collect(),
        false => Vec::new(),
    }
}

fn passed_over(failure: &Failure) {
    tracing::debug!(error = %failure, "the plug-in is passed over");
}

fn strings(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// The beginning of a text, for what others may write as long as they like.
fn shortened(text: &str, most_bytes: usize) -> String {
    if text.len() <= most_bytes {
        return text.into();
    }
    let end = (0..=most_bytes).rev().find(|end| text.is_char_boundary(*end));
    format!("{} ...", &text[..end.unwrap_or(0)])
}

/// How long ago a call failed is measured here.
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
