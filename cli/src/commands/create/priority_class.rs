use super::Name;
use serde_json::{Value, json};

/// Create a priority class
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// The priority: the higher, the sooner
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    value: i32,
    /// Pods that name no class are of this one
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true)]
    #[arg(action = clap::ArgAction::Set)]
    global_default: bool,
    /// When to use it
    #[arg(long, default_value = "")]
    description: String,
    /// Whether its pods may take the place of others: PreemptLowerPriority or Never
    #[arg(long, default_value = "PreemptLowerPriority")]
    preemption_policy: String,
}

pub fn describe(arguments: Arguments) -> Result<Value, String> {
    let mut class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": arguments.name.name},
        "value": arguments.value,
        "preemptionPolicy": arguments.preemption_policy,
    });
    if arguments.global_default {
        class["globalDefault"] = true.into();
    }
    if !arguments.description.is_empty() {
        class["description"] = arguments.description.into();
    }
    Ok(class)
}
