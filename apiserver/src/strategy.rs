//! What is particular to a kind, behind one object-safe trait, so that requests are carried out by code that
//! exists once and not once per kind.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gantry_proto::autoscaling::v1::Scale;
use gantry_proto::json::{self, DecodeError};
use gantry_proto::meta::v1::{ObjectMeta, StatusCause};
use gantry_proto::{Kind, KindInfo};
use serde_json::Value;

use crate::kinds::{self, Rules, Target};

/// A decoded object of any kind.
pub trait Object: Any + Send + Sync {
    fn info(&self) -> &'static KindInfo;
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// The message in wire form. Equal objects give equal bytes.
    fn encode(&self) -> Bytes;
    /// Kubernetes' JSON, with apiVersion and kind.
    fn to_json(&self) -> Value;
    fn boxed_clone(&self) -> Box<dyn Object>;
    /// Whether the other is the same object of the same kind in every field.
    fn equals(&self, other: &dyn Object) -> bool;
}

impl<K: Kind> Object for K {
    fn info(&self) -> &'static KindInfo {
        K::INFO
    }

    fn metadata(&self) -> &ObjectMeta {
        Kind::metadata(self)
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        Kind::metadata_mut(self)
    }

    fn encode(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    fn to_json(&self) -> Value {
        json::to_value(self)
    }

    fn boxed_clone(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }

    fn equals(&self, other: &dyn Object) -> bool {
        typed::<K>(other) == Some(self)
    }
}

/// The object as its own type; `None` when it is of another kind.
pub fn typed<K: Kind>(object: &dyn Object) -> Option<&K> {
    (object as &dyn Any).downcast_ref()
}

/// Like [`typed`], to change it.
pub fn typed_mut<K: Kind>(object: &mut dyn Object) -> Option<&mut K> {
    (object as &mut dyn Any).downcast_mut()
}

/// A selectable field and its value.
pub type Field = (&'static str, String);

/// The rules of one kind; see [`Rules`] for what each means. Objects given to a strategy are of its kind.
pub trait Strategy: Send + Sync {
    fn info(&self) -> &'static KindInfo;
    fn decode(&self, raw: &[u8]) -> Result<Box<dyn Object>, prost::DecodeError>;
    /// The object, and what was wrong with the JSON but not fatal.
    fn decode_json(&self, value: &Value) -> Result<(Box<dyn Object>, Vec<String>), DecodeError>;
    /// Names of the selectable fields beyond those of the metadata.
    fn field_names(&self) -> &[&'static str];

    fn set_defaults(&self, object: &mut dyn Object);
    fn prepare_for_create(&self, object: &mut dyn Object);
    fn prepare_for_update(&self, new: &mut dyn Object, old: &dyn Object, target: Target);
    fn admit(&self, object: &mut dyn Object);
    fn generation_changes(&self, new: &dyn Object, old: &dyn Object) -> bool;
    fn validate(&self, object: &dyn Object) -> Vec<StatusCause>;
    fn validate_update(&self, new: &dyn Object, old: &dyn Object, target: Target) -> Vec<StatusCause>;
    fn warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String>;
    fn fields(&self, object: &dyn Object) -> Vec<Field>;
    fn graceful_seconds(&self, object: &dyn Object, requested: Option<i64>) -> Option<i64>;
    fn scale(&self, object: &dyn Object) -> Option<Scale>;
    fn set_scale(&self, object: &mut dyn Object, scale: &Scale);
    fn allows_unconditional_update(&self) -> bool;
}

/// A strategy for each kind that has rules, by the full name of its message.
pub fn all() -> BTreeMap<&'static str, Arc<dyn Strategy>> {
    let mut collected = Collector::default();
    kinds::visit(&mut collected);
    collected.strategies
}

#[derive(Default)]
struct Collector {
    strategies: BTreeMap<&'static str, Arc<dyn Strategy>>,
}

impl kinds::Visitor for Collector {
    fn kind<R: Rules>(&mut self, rules: R) {
        let empty = R::Object::default();
        let field_names = rules.fields(&empty).into_iter().map(|(name, _)| name).collect();
        self.strategies
            .insert(R::Object::INFO.message, Arc::new(Erased { rules, field_names }));
    }
}

struct Erased<R> {
    rules: R,
    field_names: Vec<&'static str>,
}

const SAME_KIND: &str = "a strategy is only given objects of its own kind";

fn own<R: Rules>(object: &dyn Object) -> &R::Object {
    typed(object).expect(SAME_KIND)
}

fn own_mut<R: Rules>(object: &mut dyn Object) -> &mut R::Object {
    typed_mut(object).expect(SAME_KIND)
}

impl<R: Rules> Strategy for Erased<R> {
    fn info(&self) -> &'static KindInfo {
        R::Object::INFO
    }

    fn decode(&self, raw: &[u8]) -> Result<Box<dyn Object>, prost::DecodeError> {
        let object: R::Object = prost::Message::decode(raw)?;
        Ok(Box::new(object))
    }

    fn decode_json(&self, value: &Value) -> Result<(Box<dyn Object>, Vec<String>), DecodeError> {
        let decoded = json::decode_value::<R::Object>(value)?;
        Ok((Box::new(decoded.object), decoded.complaints))
    }

    fn field_names(&self) -> &[&'static str] {
        &self.field_names
    }

    fn set_defaults(&self, object: &mut dyn Object) {
        self.rules.set_defaults(own_mut::<R>(object));
    }

    fn prepare_for_create(&self, object: &mut dyn Object) {
        self.rules.prepare_for_create(own_mut::<R>(object));
    }

    fn prepare_for_update(&self, new: &mut dyn Object, old: &dyn Object, target: Target) {
        self.rules
            .prepare_for_update(own_mut::<R>(new), own::<R>(old), target);
    }

    fn admit(&self, object: &mut dyn Object) {
        self.rules.admit(own_mut::<R>(object));
    }

    fn generation_changes(&self, new: &dyn Object, old: &dyn Object) -> bool {
        self.rules.generation_changes(own::<R>(new), own::<R>(old))
    }

    fn validate(&self, object: &dyn Object) -> Vec<StatusCause> {
        self.rules.validate(own::<R>(object))
    }

    fn validate_update(&self, new: &dyn Object, old: &dyn Object, target: Target) -> Vec<StatusCause> {
        self.rules.validate_update(own::<R>(new), own::<R>(old), target)
    }

    fn warnings(&self, new: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        self.rules.warnings(own::<R>(new), old.map(own::<R>))
    }

    fn fields(&self, object: &dyn Object) -> Vec<Field> {
        self.rules.fields(own::<R>(object))
    }

    fn graceful_seconds(&self, object: &dyn Object, requested: Option<i64>) -> Option<i64> {
        self.rules.graceful_seconds(own::<R>(object), requested)
    }

    fn scale(&self, object: &dyn Object) -> Option<Scale> {
        self.rules.scale(own::<R>(object))
    }

    fn set_scale(&self, object: &mut dyn Object, scale: &Scale) {
        self.rules.set_scale(own_mut::<R>(object), scale);
    }

    fn allows_unconditional_update(&self) -> bool {
        self.rules.allows_unconditional_update()
    }
}
