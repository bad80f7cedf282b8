use super::Related;
use super::text::Text;
use crate::cluster::Object;
use crate::failure::Failure;
use crate::tables::labels;
use gantry_proto::scheduling::v1::PriorityClass;
use std::time::SystemTime;

pub fn describe(object: &Object, _: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let class: PriorityClass = object.decode()?;
    let policy = class.preemption_policy.as_deref().unwrap_or_default();
    text.line(0, format_args!("Name:\t{}", object.metadata.name));
    text.line(0, format_args!("Value:\t{}", class.value));
    text.line(0, format_args!("GlobalDefault:\t{}", class.global_default));
    text.line(0, format_args!("PreemptionPolicy:\t{policy}"));
    text.line(0, format_args!("Description:\t{}", class.description));
    let annotations = labels(&object.metadata.annotations);
    text.line(0, format_args!("Annotations:\t{annotations}"));
    Ok(())
}
