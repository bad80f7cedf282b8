//! What is recorded at one stage of a request, and its line in the log: audit.k8s.io/v1 Event.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::{self as api};
use gantry_proto::json;
use gantry_proto::meta::v1::{DeleteOptions, MicroTime, Status};
use prost::Message as _;
use serde::Serialize;
use serde_json::Value;

use super::policy::{Level, Stage};
use super::trail::Asked;
use crate::authentication::User;
use crate::codec;

/// What is known of a request from its start.
#[derive(Debug)]
pub struct Origin {
    pub id: String,
    /// As the client sent it.
    pub uri: String,
    /// `gantry.api.v1.Resources/Create`; `None` for a page.
    pub grpc_method: Option<String>,
    pub user: Arc<User>,
    pub source_ips: Vec<IpAddr>,
    pub user_agent: String,
    pub received: SystemTime,
    /// Of a request that belongs to a trace.
    pub trace_id: Option<String>,
}

/// Whether the request was allowed, and why.
#[derive(Clone, Debug)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
}

/// An event before it is rendered. What is large is shared with the request.
#[derive(Debug)]
pub struct Entry {
    pub origin: Arc<Origin>,
    pub level: Level,
    pub stage: Stage,
    pub at: SystemTime,
    pub verb: Cow<'static, str>,
    /// `None` for what is about no object.
    pub object: Option<Arc<Asked>>,
    pub decision: Option<Decision>,
    pub status: Option<Status>,
    pub request: Option<Body>,
    pub response: Option<Body>,
    /// Whether an object was left out because of its size.
    pub truncated: bool,
    pub omit_managed_fields: bool,
}

/// An object of a request or a reply, as it came. It becomes JSON only when it is written.
#[derive(Clone, Debug)]
pub struct Body {
    content: Content,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Content {
    Object(api::Object),
    List(Box<api::ListReply>),
    /// JSON text.
    Patch(Bytes),
    DeleteOptions(Box<DeleteOptions>),
    Failure(Box<Status>),
}

impl Body {
    pub fn object(object: &api::Object) -> Body {
        Body {
            bytes: object_bytes(object),
            content: Content::Object(object.clone()),
        }
    }

    pub fn list(list: &api::ListReply) -> Body {
        Body {
            bytes: list.items.iter().map(object_bytes).sum(),
            content: Content::List(Box::new(list.clone())),
        }
    }

    pub fn patch(patch: &Bytes) -> Body {
        Body {
            bytes: patch.len(),
            content: Content::Patch(patch.clone()),
        }
    }

    pub fn delete_options(options: &DeleteOptions) -> Body {
        Body {
            bytes: options.encoded_len(),
            content: Content::DeleteOptions(Box::new(options.clone())),
        }
    }

    pub fn failure(status: &Status) -> Body {
        Body {
            bytes: status.encoded_len(),
            content: Content::Failure(Box::new(status.clone())),
        }
    }

    /// What it holds, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Kubernetes' JSON; `None` for what cannot be decoded, which the request's status says.
    fn into_json(self, omit_managed_fields: bool) -> Option<Value> {
        let mut value = match self.content {
            Content::Object(object) => object_to_json(object)?,
            Content::List(list) => list_to_json(*list),
            Content::Patch(patch) => serde_json::from_slice(&patch).ok()?,
            Content::DeleteOptions(options) => typed(&*options, "DeleteOptions", "meta.k8s.io/v1"),
            Content::Failure(status) => typed(&*status, "Status", "v1"),
        };
        if omit_managed_fields {
            remove_managed_fields(&mut value);
            let items = value.get_mut("items").and_then(Value::as_array_mut);
            items.into_iter().flatten().for_each(remove_managed_fields);
        }
        Some(value)
    }
}

fn object_bytes(object: &api::Object) -> usize {
    match &object.form {
        Some(Form::Any(any)) => any.value.len(),
        Some(Form::Json(object)) => object.encoded_len(),
        None => 0,
    }
}

fn object_to_json(object: api::Object) -> Option<Value> {
    match object.form? {
        Form::Any(any) => codec::to_json(any.message(), &any.value).ok(),
        Form::Json(object) => Some(json::struct_to_value(object)),
    }
}

fn list_to_json(list: api::ListReply) -> Value {
    let mut metadata = serde_json::json!({ "resourceVersion": list.resource_version });
    if !list.r#continue.is_empty() {
        metadata["continue"] = list.r#continue.into();
    }
    if let Some(remaining) = list.remaining_item_count {
        metadata["remainingItemCount"] = remaining.into();
    }
    let items: Vec<Value> = list.items.into_iter().filter_map(object_to_json).collect();
    serde_json::json!({
        "kind": list.kind,
        "apiVersion": list.api_version,
        "metadata": metadata,
        "items": items,
    })
}

fn typed(object: &impl Serialize, kind: &str, version: &str) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("kind".into(), kind.into());
        fields.insert("apiVersion".into(), version.into());
    }
    value
}

fn remove_managed_fields(object: &mut Value) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
}

/// Resources whose contents are nobody's business at the level Metadata.
const SENSITIVE: [&str; 2] = ["secrets", "configmaps"];
/// Codes whose messages name objects and rules, but quote nothing of a request's object.
const HARMLESS_CODES: [i32; 8] = [401, 403, 404, 409, 410, 429, 503, 504];

/// What a request's own fields take, at most for nearly all of them.
const ENTRY_BYTES: usize = 2048;

impl Entry {
    /// What it holds, roughly.
    pub fn bytes(&self) -> usize {
        let bodies = [&self.request, &self.response].into_iter().flatten();
        let own = ENTRY_BYTES + self.origin.uri.len();
        own + bodies.map(Body::bytes).sum::<usize>()
    }

    /// Appends the event's line.
    pub fn render(self, lines: &mut Vec<u8>) {
        let annotations = self.annotations();
        let status = self.told_status();
        let omit = self.omit_managed_fields;
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: self.level,
            audit_id: &self.origin.id,
            stage: self.stage,
            request_uri: &self.origin.uri,
            verb: &self.verb,
            user: UserInfo {
                username: &self.origin.user.name,
                groups: &self.origin.user.groups,
            },
            source_ips: &self.origin.source_ips,
            user_agent: &self.origin.user_agent,
            object_ref: self.object.as_deref().map(ObjectReference::of),
            response_status: status,
            request_object: self.request.and_then(|body| body.into_json(omit)),
            response_object: self.response.and_then(|body| body.into_json(omit)),
            request_received_timestamp: MicroTime::from_system(self.origin.received),
            stage_timestamp: MicroTime::from_system(self.at),
            annotations,
        };
        let before = lines.len();
        if let Err(error) = serde_json::to_writer(&mut *lines, &event) {
            // Only a map with keys that are not strings can fail, and there is none.
            tracing::error!(%error, "an audit event could not be rendered");
            return lines.truncate(before);
        }
        lines.push(b'\n');
    }

    fn annotations(&self) -> BTreeMap<&'static str, String> {
        let mut annotations = BTreeMap::new();
        if let Some(decision) = &self.decision {
            let allowed = if decision.allowed { "allow" } else { "forbid" };
            annotations.insert("authorization.k8s.io/decision", allowed.to_owned());
            annotations.insert("authorization.k8s.io/reason", decision.reason.clone());
        }
        if let Some(method) = &self.origin.grpc_method {
            annotations.insert("gantry.dev/grpc-method", method.clone());
        }
        if let Some(trace_id) = &self.origin.trace_id {
            annotations.insert("gantry.dev/trace-id", trace_id.clone());
        }
        if self.truncated {
            annotations.insert("audit.k8s.io/truncated", "true".to_owned());
        }
        annotations
    }

    /// A refusal may quote what it refuses. At the level Metadata a Secret's or a ConfigMap's does not say more than
    /// its reason, then.
    fn told_status(&self) -> Option<Status> {
        let mut status = self.status.clone()?;
        let sensitive = self
            .object
            .as_ref()
            .is_some_and(|object| SENSITIVE.contains(&object.resource.as_str()));
        let quotes = status.code >= 400 && !HARMLESS_CODES.contains(&status.code);
        if self.level == Level::Metadata && sensitive && quotes {
            status.message = "not recorded at this level".into();
            status.details = None;
        }
        Some(status)
    }
}

/// In the order of Kubernetes' fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: Level,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: UserInfo<'a>,
    #[serde(rename = "sourceIPs")]
    source_ips: &'a [IpAddr],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectReference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<Value>,
    request_received_timestamp: MicroTime,
    stage_timestamp: MicroTime,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct UserInfo<'a> {
    username: &'a str,
    groups: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectReference<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    resource_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: &'a str,
}

impl<'a> ObjectReference<'a> {
    fn of(asked: &'a Asked) -> ObjectReference<'a> {
        ObjectReference {
            resource: &asked.resource,
            namespace: &asked.namespace,
            name: &asked.name,
            uid: &asked.uid,
            api_group: &asked.group,
            api_version: &asked.version,
            resource_version: &asked.resource_version,
            subresource: &asked.subresource,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use expect_test::expect;
    use gantry_proto::any::Any;
    use gantry_proto::core::v1::Secret;
    use gantry_proto::status::Reason;
    use gantry_proto::{Kind as _, KindInfo};

    use super::*;
    use crate::request::Verb;

    /// An entry whose request has this many bytes.
    pub fn entry(bytes: usize) -> Entry {
        let at = UNIX_EPOCH + Duration::from_micros(1_795_196_714_123_456);
        let asked = Asked {
            namespace: "default".into(),
            name: "token".into(),
            ..Asked::of(Verb::Create, Secret::INFO)
        };
        Entry {
            origin: Arc::new(Origin {
                id: "0f8f".into(),
                uri: "/gantry.api.v1.Resources/Create".into(),
                grpc_method: Some("gantry.api.v1.Resources/Create".into()),
                user: Arc::new(User {
                    name: "jane".into(),
                    groups: vec!["system:authenticated".into()],
                }),
                source_ips: vec![[192, 0, 2, 7].into()],
                user_agent: "gantry/0.1".into(),
                received: at,
                trace_id: Some("6b0080b55a16ff7725c569f78343f07d".into()),
            }),
            level: Level::Metadata,
            stage: Stage::ResponseComplete,
            at: at + Duration::from_millis(3),
            verb: "create".into(),
            object: Some(Arc::new(asked)),
            decision: Some(Decision {
                allowed: true,
                reason: "because".into(),
            }),
            status: Some(Status {
                code: 201,
                ..Status::default()
            }),
            request: (bytes > 0).then(|| Body::patch(&vec![b' '; bytes].into())),
            response: None,
            truncated: false,
            omit_managed_fields: false,
        }
    }

    fn line(entry: Entry) -> String {
        let mut lines = Vec::new();
        entry.render(&mut lines);
        assert_eq!(lines.pop(), Some(b'\n'));
        let line = String::from_utf8(lines).unwrap();
        assert!(!line.contains('\n'), "{line}");
        line
    }

    fn secret(text: &str) -> api::Object {
        let value: Value = serde_json::from_str(text).unwrap();
        let (raw, _) = (KindInfo::of_resource("secrets").unwrap().encode_json)(&value).unwrap();
        api::Object {
            form: Some(Form::Any(Any::new(Secret::INFO.message, raw))),
        }
    }

    #[test]
    fn an_event_is_one_line_of_kubernetes_json() {
        expect![[r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"0f8f","stage":"ResponseComplete","requestURI":"/gantry.api.v1.Resources/Create","verb":"create","user":{"username":"jane","groups":["system:authenticated"]},"sourceIPs":["192.0.2.7"],"userAgent":"gantry/0.1","objectRef":{"resource":"secrets","namespace":"default","name":"token","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},"requestReceivedTimestamp":"2026-11-20T17:45:14.123456Z","stageTimestamp":"2026-11-20T17:45:14.126456Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"because","gantry.dev/grpc-method":"gantry.api.v1.Resources/Create","gantry.dev/trace-id":"6b0080b55a16ff7725c569f78343f07d"}}"#]]
        .assert_eq(&line(entry(0)));
    }

    #[test]
    fn objects_are_json_and_lose_their_managed_fields_on_request() {
        let object = secret(
            r#"{"metadata": {"name": "token", "managedFields": [{"manager": "m"}]}, "data": {"key": "c2VjcmV0"}}"#,
        );
        for omit in [false, true] {
            let list = api::ListReply {
                items: vec![object.clone()],
                kind: "SecretList".into(),
                api_version: "v1".into(),
                resource_version: "7".into(),
                ..Default::default()
            };
            let text = line(Entry {
                level: Level::RequestResponse,
                request: Some(Body::object(&object)),
                response: Some(Body::list(&list)),
                omit_managed_fields: omit,
                ..entry(0)
            });
            let event: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(event["requestObject"]["kind"], "Secret");
            assert_eq!(event["requestObject"]["data"]["key"], "c2VjcmV0");
            assert_eq!(event["responseObject"]["kind"], "SecretList");
            assert_eq!(event["responseObject"]["items"][0]["metadata"]["name"], "token");
            assert_eq!(text.contains("managedFields"), !omit);
        }
    }

    #[test]
    fn what_a_refusal_quotes_of_a_secret_is_not_told_at_metadata() {
        let told = |level, resource: &str, reason| {
            let mut entry = entry(0);
            entry.level = level;
            entry.status = Some(Status::failure(reason, "Invalid value: \"hunter2\""));
            let asked = Asked::of(Verb::Create, KindInfo::of_resource(resource).unwrap());
            entry.object = Some(Arc::new(asked));
            line(entry).contains("hunter2")
        };
        for reason in [Reason::Invalid, Reason::BadRequest, Reason::InternalError] {
            assert!(!told(Level::Metadata, "secrets", reason));
            assert!(!told(Level::Metadata, "configmaps", reason));
            assert!(told(Level::Metadata, "pods", reason));
            assert!(told(Level::Request, "secrets", reason));
        }
        assert!(told(Level::Metadata, "secrets", Reason::Forbidden));
    }
}
