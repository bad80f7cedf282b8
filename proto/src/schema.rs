//! The descriptors of everything in `proto/`, with Kubernetes' facts about each field.

mod fields;

pub use fields::{FieldInfo, about, fields};

use prost_reflect::{DescriptorPool, FieldDescriptor, Value};
use std::sync::LazyLock;

/// The encoded descriptor set, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Every file of `proto/`.
pub fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        // The bytes are the build script's own output.
        DescriptorPool::decode(DESCRIPTORS).unwrap_or_default()
    });
    &POOL
}

/// What Kubernetes keeps in Go tags about a field; see `proto/gantry/meta/v1/field.proto`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldOptions {
    pub always: bool,
    pub nullable: bool,
    pub inline: bool,
    pub required: bool,
    pub immutable: bool,
    pub patch_strategy: String,
    pub patch_merge_key: String,
    pub list_type: String,
    pub list_map_keys: Vec<String>,
    pub default: String,
    pub enum_values: Vec<String>,
}

/// The options of a field; those of a field without any are the default.
pub fn field_options(field: &FieldDescriptor) -> FieldOptions {
    static EXTENSION: LazyLock<Option<prost_reflect::ExtensionDescriptor>> =
        LazyLock::new(|| pool().get_extension_by_name("gantry.meta.v1.field"));
    let Some(extension) = EXTENSION.as_ref() else {
        return FieldOptions::default();
    };
    let options = field.options();
    let Value::Message(ref message) = *options.get_extension(extension) else {
        return FieldOptions::default();
    };
    let flag = |name| {
        message
            .get_field_by_name(name)
            .and_then(|v| v.as_bool())
            .unwrap_or(false)
    };
    let text = |name| {
        message
            .get_field_by_name(name)
            .and_then(|v| v.as_str().map(str::to_string))
            .unwrap_or_default()
    };
    let list = |name| {
        let value = message.get_field_by_name(name);
        let texts = value.as_ref().and_then(|v| v.as_list()).unwrap_or_default();
        texts
            .iter()
            .filter_map(|v| v.as_str().map(str::to_string))
            .collect()
    };
    FieldOptions {
        always: flag("always"),
        nullable: flag("nullable"),
        inline: flag("inline"),
        required: flag("required"),
        immutable: flag("immutable"),
        patch_strategy: text("patch_strategy"),
        patch_merge_key: text("patch_merge_key"),
        list_type: text("list_type"),
        list_map_keys: list("list_map_keys"),
        default: text("default"),
        enum_values: list("enum_values"),
    }
}
