use super::Related;
use super::text::Text;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::ConfigMap;
use std::time::SystemTime;

pub fn describe(object: &Object, _: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let config_map: ConfigMap = object.decode()?;
    text.head(&object.metadata);
    text.text.push_str("\nData\n====\n");
    for (key, value) in &config_map.data {
        // Tabs within a value must not become columns.
        text.text
            .push_str(&format!("{key}:\n----\n{}\n\n", value.replace('\t', "    ")));
    }
    text.text.push_str("\nBinaryData\n====\n");
    for (key, value) in &config_map.binary_data {
        text.text.push_str(&format!("{key}: {} bytes\n", value.len()));
    }
    text.text.push('\n');
    Ok(())
}
