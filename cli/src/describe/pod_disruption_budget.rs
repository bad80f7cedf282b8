use super::Related;
use super::text::Text;
use crate::cluster::Object;
use crate::failure::Failure;
use crate::tables::{or_none, selector};
use gantry_proto::policy::v1::PodDisruptionBudget;
use std::time::SystemTime;

pub fn describe(object: &Object, _: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let budget: PodDisruptionBudget = object.decode()?;
    let (spec, status) = (budget.spec(), budget.status());
    text.line(0, format_args!("Name:\t{}", object.metadata.name));
    text.line(0, format_args!("Namespace:\t{}", object.metadata.namespace));
    match (&spec.min_available, &spec.max_unavailable) {
        (Some(least), _) => text.line(0, format_args!("Min available:\t{least}")),
        (None, Some(most)) => text.line(0, format_args!("Max unavailable:\t{most}")),
        (None, None) => {}
    }
    match &spec.selector {
        Some(found) => text.line(0, format_args!("Selector:\t{}", or_none(&selector(Some(found))))),
        None => text.line(0, format_args!("Selector:\t<unset>")),
    }
    text.line(0, format_args!("Status:"));
    text.line(
        2,
        format_args!("Allowed disruptions:\t{}", status.disruptions_allowed),
    );
    text.line(2, format_args!("Current:\t{}", status.current_healthy));
    text.line(2, format_args!("Desired:\t{}", status.desired_healthy));
    text.line(2, format_args!("Total:\t{}", status.expected_pods));
    Ok(())
}
