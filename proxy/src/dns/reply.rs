//! Answers as messages that fit.

use super::Zone;
use super::answer::{Answer, authority};
use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};

/// What a UDP message may hold when the client says nothing (RFC 1035, section 4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;
/// What we send and say that we take at most by UDP: no fragments on any usual path (DNS flag day 2020).
const MAX_UDP_BYTES: u16 = 1232;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The reply to `request` that says `answer`. Only answers that are final may be given.
pub fn reply(request: &Message, zone: &Zone, answer: Answer) -> Message {
    let mut reply = empty(request, ResponseCode::NoError);
    reply.metadata.authoritative = true;
    match answer {
        Answer::Records { answers, additionals } => {
            reply.add_answers(answers);
            reply.add_additionals(additionals);
        }
        Answer::NoData => reply.authorities.extend(authority(zone)),
        Answer::NoName => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.authorities.extend(authority(zone));
        }
        Answer::Alias { alias, .. } => reply.answers.push(*alias),
        Answer::Unknown | Answer::Elsewhere => return empty(request, ResponseCode::ServFail),
    }
    reply
}

/// A reply without records.
pub fn empty(request: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.checking_disabled = request.metadata.checking_disabled;
    reply.metadata.response_code = code;
    reply.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_BYTES);
        reply.set_edns(edns);
    }
    reply
}

/// Why a request gets no answer from anybody.
pub fn refusal(request: &Message) -> Option<ResponseCode> {
    if request.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    if request.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Some(ResponseCode::BADVERS);
    }
    (request.queries.len() != 1).then_some(ResponseCode::FormErr)
}

/// The bytes, within what the transport and the client take. A reply that is too long loses records, and says
/// so, so that the client asks again by TCP.
pub fn encode(request: &Message, mut reply: Message, transport: Transport) -> Result<Vec<u8>, ProtoError> {
    let limit = match (transport, &request.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => usize::from(PLAIN_UDP_BYTES),
        (Transport::Udp, Some(edns)) => usize::from(edns.max_payload().clamp(PLAIN_UDP_BYTES, MAX_UDP_BYTES)),
    };
    let mut bytes = reply.to_vec()?;
    while bytes.len() > limit && !(reply.answers.is_empty() && reply.additionals.is_empty()) {
        if reply.additionals.is_empty() {
            reply.metadata.truncation = true;
            let fitting = reply.answers.len() * limit / bytes.len();
            reply.answers.truncate(fitting.min(reply.answers.len() - 1));
        } else {
            // Additional records are a courtesy (RFC 2181, section 9).
            reply.additionals.clear();
        }
        bytes = reply.to_vec()?;
    }
    Ok(bytes)
}
