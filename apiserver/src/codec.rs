//! Objects as requests bring them and replies show them: in wire form, or as Kubernetes' JSON.

use bytes::Bytes;
use gantry_proto::any::Any;
use gantry_proto::api::v1::{self as api, FieldValidation, View, object::Form};
use gantry_proto::autoscaling::v1::Scale;
use gantry_proto::json;
use gantry_proto::meta::v1::{ObjectMeta, Status};
use gantry_proto::{Key, Kind, KindInfo, wire};
use prost::Message as _;
use serde_json::Value;

use crate::registry::bad_request;
use crate::strategy::{Object, Strategy};

const SCALE: &str = "gantry.autoscaling.v1.Scale";
/// What is answered where there is no object to show.
pub const STATUS: &str = "gantry.meta.v1.Status";

/// What is done about fields of a JSON object that the schema does not have, or that are there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    Ignore,
    Warn,
    Strict,
}

impl From<FieldValidation> for Validation {
    fn from(validation: FieldValidation) -> Validation {
        match validation {
            FieldValidation::Ignore => Validation::Ignore,
            FieldValidation::Unspecified | FieldValidation::Warn => Validation::Warn,
            FieldValidation::Strict => Validation::Strict,
        }
    }
}

/// An object of a request, taken out of its message.
#[derive(Clone, Debug)]
pub enum Given {
    Wire { message: String, raw: Bytes },
    Json(Value),
}

impl Given {
    pub fn of(object: Option<api::Object>) -> Result<Given, Status> {
        match object.and_then(|object| object.form) {
            Some(Form::Any(any)) => Ok(Given::Wire {
                message: any.message().to_owned(),
                raw: any.value,
            }),
            Some(Form::Json(object)) => Ok(Given::Json(json::struct_to_value(object))),
            None => Err(bad_request("the request has no object")),
        }
    }

    /// The kind that the object says it is of.
    pub fn kind(&self) -> Result<&'static KindInfo, Status> {
        match self {
            Given::Wire { message, .. } => KindInfo::of_message(message)
                .ok_or_else(|| bad_request(format!("no kind has the message {message:?}"))),
            Given::Json(value) => {
                let (version, kind) = type_of(value);
                let kind =
                    kind.ok_or_else(|| bad_request("Object 'Kind' is missing in the request's object"))?;
                let version = version
                    .ok_or_else(|| bad_request("Object 'apiVersion' is missing in the request's object"))?;
                KindInfo::of_object(version, kind).ok_or_else(|| {
                    bad_request(format!(
                        "no kind \"{kind}\" is registered for version \"{version}\""
                    ))
                })
            }
        }
    }

    /// Where the object says that it belongs, for a request that does not: it is authorized by this, before anything
    /// else of the object is looked at.
    pub fn key(&self) -> Key {
        let metadata = match self {
            Given::Wire { raw, .. } => wire::metadata(raw).unwrap_or_default(),
            Given::Json(value) => {
                let text = |field| value.get("metadata")?.get(field)?.as_str().map(str::to_owned);
                ObjectMeta {
                    namespace: text("namespace").unwrap_or_default(),
                    name: text("name").unwrap_or_default(),
                    ..ObjectMeta::default()
                }
            }
        };
        Key::new(metadata.namespace, metadata.name)
    }

    /// The view of a reply to a request with this object.
    pub fn view(&self, wanted: View) -> View {
        match (wanted, self) {
            (View::Unspecified, Given::Wire { .. }) => View::Any,
            (View::Unspecified, Given::Json(_)) => View::Json,
            (view, _) => view,
        }
    }

    /// The object, and what the user should be warned of.
    pub fn decode(
        &self,
        strategy: &dyn Strategy,
        validation: Validation,
    ) -> Result<(Box<dyn Object>, Vec<String>), Status> {
        match self {
            Given::Json(value) => decode_json(strategy, value, validation),
            Given::Wire { message, raw } => {
                let info = strategy.info();
                check_message(info, message)?;
                let object = strategy
                    .decode(raw)
                    .map_err(|error| undecodable(info, &error.to_string()))?;
                Ok((object, Vec::new()))
            }
        }
    }

    /// The object as a kind that is only sent, and what the user should be warned of.
    pub fn decode_sent<K: Kind>(&self, validation: Validation) -> Result<(K, Vec<String>), Status> {
        match self {
            Given::Json(value) => {
                check_type(K::INFO, value)?;
                let decoded = json::decode_value::<K>(value)
                    .map_err(|error| undecodable(K::INFO, &error.to_string()))?;
                let complaints = judge(K::INFO, decoded.complaints, validation)?;
                Ok((decoded.object, complaints))
            }
            Given::Wire { message, raw } => {
                check_message(K::INFO, message)?;
                let object = K::decode(&**raw).map_err(|error| undecodable(K::INFO, &error.to_string()))?;
                Ok((object, Vec::new()))
            }
        }
    }

    /// The object as a Scale.
    pub fn decode_scale(&self) -> Result<Scale, Status> {
        match self {
            Given::Json(value) => scale_of_json(value),
            Given::Wire { message, raw } if message == SCALE => Scale::decode(&**raw)
                .map_err(|error| bad_request(format!("the Scale does not decode: {error}"))),
            Given::Wire { message, .. } => {
                Err(bad_request(format!("{message} cannot be handled as a Scale")))
            }
        }
    }
}

/// Decodes what a patch made of an object, or says why it cannot be read; with it comes what was wrong but not fatal.
pub fn decode_patched(
    strategy: &dyn Strategy,
    value: &Value,
) -> Result<(Box<dyn Object>, Vec<String>), String> {
    check_type(strategy.info(), value).map_err(|status| status.message)?;
    strategy.decode_json(value).map_err(|error| error.to_string())
}

/// Decodes Kubernetes' JSON as the strategy's kind. An absent apiVersion or kind is taken to be the expected one.
fn decode_json(
    strategy: &dyn Strategy,
    value: &Value,
    validation: Validation,
) -> Result<(Box<dyn Object>, Vec<String>), Status> {
    let info = strategy.info();
    check_type(info, value)?;
    let (object, complaints) = strategy
        .decode_json(value)
        .map_err(|error| undecodable(info, &error.to_string()))?;
    Ok((object, judge(info, complaints, validation)?))
}

/// What the user is warned of, of what was wrong but not fatal, unless that is refused.
fn judge(info: &KindInfo, complaints: Vec<String>, validation: Validation) -> Result<Vec<String>, Status> {
    match validation {
        _ if complaints.is_empty() => Ok(complaints),
        Validation::Ignore => Ok(Vec::new()),
        Validation::Warn => Ok(complaints),
        Validation::Strict => {
            let all = complaints.join(", ");
            Err(undecodable(info, &format!("strict decoding error: {all}")))
        }
    }
}

fn check_message(info: &KindInfo, message: &str) -> Result<(), Status> {
    if message == info.message {
        return Ok(());
    }
    let kind = KindInfo::of_message(message).map_or(message, |info| info.kind);
    Err(bad_request(format!(
        "{kind} cannot be handled as a {}",
        info.kind
    )))
}

fn check_type(info: &KindInfo, value: &Value) -> Result<(), Status> {
    let (version, kind) = type_of(value);
    let expected = info.api_version();
    if let Some(version) = version
        && version != expected
    {
        return Err(bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    match kind {
        Some(kind) if kind != info.kind => Err(bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {}",
            info.version, info.kind
        ))),
        _ => Ok(()),
    }
}

fn type_of(value: &Value) -> (Option<&str>, Option<&str>) {
    let text = |field| {
        value
            .get(field)
            .and_then(Value::as_str)
            .filter(|text: &&str| !text.is_empty())
    };
    (text("apiVersion"), text("kind"))
}

fn undecodable(info: &KindInfo, why: &str) -> Status {
    bad_request(format!(
        "{} in version \"{}\" cannot be handled as a {}: {why}",
        info.kind, info.version, info.kind
    ))
}

/// An object of a reply.
pub fn shown(message: &str, raw: Bytes, view: View) -> Result<api::Object, Status> {
    let form = match view {
        View::Unspecified | View::Any => Form::Any(Any::new(message, raw)),
        View::Json => Form::Json(json::value_to_struct(to_json(message, &raw)?)),
    };
    Ok(api::Object { form: Some(form) })
}

/// An object in wire form as Kubernetes' JSON.
pub fn to_json(message: &str, raw: &[u8]) -> Result<Value, Status> {
    let undecodable = |error| bad_request(format!("the object does not decode: {error}"));
    if message == SCALE {
        return Ok(scale_to_json(&Scale::decode(raw).map_err(undecodable)?));
    }
    if message == STATUS {
        let status = Status::decode(raw).map_err(undecodable)?;
        return Ok(with_type(serde_json::to_value(status), "Status", "v1"));
    }
    let info = KindInfo::of_message(message)
        .ok_or_else(|| bad_request(format!("no kind has the message {message:?}")))?;
    (info.decode_json)(raw).map_err(undecodable)
}

/// A Scale of a reply.
pub fn shown_scale(scale: &Scale, view: View) -> Result<api::Object, Status> {
    shown(SCALE, scale.encode_to_vec().into(), view)
}

/// A Scale as Kubernetes' JSON, with apiVersion and kind.
pub fn scale_to_json(scale: &Scale) -> Value {
    with_type(serde_json::to_value(scale), "Scale", "autoscaling/v1")
}

fn with_type(value: serde_json::Result<Value>, kind: &str, version: &str) -> Value {
    // A message of strings, numbers and maps with text keys always becomes JSON.
    let mut value = value.unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("kind".into(), kind.into());
        fields.insert("apiVersion".into(), version.into());
    }
    value
}

pub fn scale_of_json(value: &Value) -> Result<Scale, Status> {
    let mut value = value.clone();
    if let Value::Object(fields) = &mut value {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    serde_json::from_value(value).map_err(|error| {
        bad_request(format!(
            "Scale in version \"v1\" cannot be handled as a Scale: {error}"
        ))
    })
}
