//! From a request's bytes to a reply's.

use super::answer::{Answer, answer};
use super::reply::{self, Transport, encode, refusal, reply};
use super::{Upstreams, Zone};
use crate::metrics::Metrics;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Aliases of aliases that are followed.
const MAX_ALIASES: usize = 8;

#[derive(Clone)]
pub struct Resolver {
    zone: Arc<RwLock<Zone>>,
    upstreams: Upstreams,
    turn: Arc<AtomicUsize>,
    pub metrics: Metrics,
}

/// What a request comes to without asking anybody.
pub enum Step {
    Reply(Vec<u8>),
    /// Other servers must be asked first.
    Ask(Box<Inquiry>),
    /// Not even a refusal is due.
    Ignore,
}

pub struct Inquiry {
    request: Message,
    /// The reply as far as it goes: the aliases, and the name that they end in. `None`: all is to be asked.
    begun: Option<(Message, Name)>,
}

impl Resolver {
    pub fn new(zone: Arc<RwLock<Zone>>, upstreams: Upstreams, metrics: Metrics) -> Resolver {
        Resolver {
            zone,
            upstreams,
            turn: Arc::default(),
            metrics,
        }
    }

    /// Decides at once, for requests about the cluster.
    pub fn step(&self, bytes: &[u8], transport: Transport) -> Step {
        self.metrics.dns_queries.inc();
        let Ok(request) = Message::from_vec(bytes) else {
            return malformed(bytes);
        };
        if request.metadata.message_type != MessageType::Query {
            return Step::Ignore;
        }
        if let Some(code) = refusal(&request) {
            return send(&request, reply::empty(&request, code), transport);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        let mut aliases = Vec::new();
        let mut question = request.queries[0].clone();
        loop {
            match answer(&zone, &question, turn) {
                Answer::Elsewhere if aliases.is_empty() => {
                    return Step::Ask(Box::new(Inquiry { request, begun: None }));
                }
                Answer::Elsewhere => {
                    let begun = Answer::Records {
                        answers: aliases,
                        additionals: Vec::new(),
                    };
                    let begun = reply(&request, &zone, begun);
                    let target = question.name().clone();
                    return Step::Ask(Box::new(Inquiry {
                        request,
                        begun: Some((begun, target)),
                    }));
                }
                Answer::Alias { alias, target } => {
                    let follow = question.query_type() != RecordType::CNAME;
                    aliases.push(*alias);
                    if !follow || aliases.len() > MAX_ALIASES {
                        let all = Answer::Records {
                            answers: aliases,
                            additionals: Vec::new(),
                        };
                        return send(&request, reply(&request, &zone, all), transport);
                    }
                    question.set_name(target);
                }
                last => {
                    let mut message = reply(&request, &zone, last);
                    message.answers.splice(0..0, aliases);
                    return send(&request, message, transport);
                }
            }
        }
    }

    /// Asks other servers.
    pub async fn ask(&self, bytes: &[u8], inquiry: Box<Inquiry>, transport: Transport) -> Option<Vec<u8>> {
        self.metrics.dns_forwarded.inc();
        let Inquiry { request, begun } = *inquiry;
        let failed = || {
            encode(
                &request,
                reply::empty(&request, ResponseCode::ServFail),
                transport,
            )
            .ok()
        };
        let Some((mut begun, target)) = begun else {
            // The reply is passed on as it is, whatever it contains.
            return self.upstreams.ask(bytes, transport).await.or_else(failed);
        };
        let mut question = Message::new(request.metadata.id, MessageType::Query, OpCode::Query);
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(target, request.queries[0].query_type()));
        let Ok(question) = question.to_vec() else {
            return failed();
        };
        let reply = self.upstreams.ask(&question, transport).await;
        let Some(reply) = reply.and_then(|reply| Message::from_vec(&reply).ok()) else {
            return failed();
        };
        begun.metadata.authoritative = false;
        begun.metadata.response_code = reply.metadata.response_code;
        begun.metadata.truncation |= reply.metadata.truncation;
        begun.answers.extend(reply.answers);
        begun.authorities.extend(reply.authorities);
        encode(&request, begun, transport).ok()
    }

    /// The reply when there is no room to ask anybody.
    pub fn refuse(&self, inquiry: &Inquiry, transport: Transport) -> Option<Vec<u8>> {
        self.metrics.dns_refused.inc();
        let request = &inquiry.request;
        encode(request, reply::empty(request, ResponseCode::ServFail), transport).ok()
    }
}

fn send(request: &Message, reply: Message, transport: Transport) -> Step {
    match encode(request, reply, transport) {
        Ok(bytes) => Step::Reply(bytes),
        Err(error) => {
            tracing::warn!(%error, "a DNS reply could not be encoded");
            Step::Ignore
        }
    }
}

/// A request that cannot be read is told so, if it at least has an identifier and is no reply.
fn malformed(bytes: &[u8]) -> Step {
    const RESPONSE_BIT: u8 = 0x80;
    match bytes {
        [high, low, flags, ..] if flags & RESPONSE_BIT == 0 => {
            let id = u16::from_be_bytes([*high, *low]);
            let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
            message.to_vec().map_or(Step::Ignore, Step::Reply)
        }
        _ => Step::Ignore,
    }
}
