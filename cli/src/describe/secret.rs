use super::Related;
use super::text::Text;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::Secret;
use std::time::SystemTime;

/// Sizes only: a description must be safe to show around.
pub fn describe(object: &Object, _: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let secret: Secret = object.decode()?;
    text.head(&object.metadata);
    text.text
        .push_str(&format!("\nType:\t{}\n\nData\n====\n", secret.r#type));
    for (key, value) in &secret.data {
        text.line(0, format_args!("{key}:\t{} bytes", value.len()));
    }
    Ok(())
}
