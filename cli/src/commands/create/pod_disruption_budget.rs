use super::Name;
use gantry_proto::selector::{Operator, Requirement, Selector};
use serde_json::{Map, Value, json};

/// Create a pod disruption budget
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// Which pods, by labels such as app=web
    #[arg(long, default_value = "")]
    selector: String,
    /// How many must be left, as a number or a percentage
    #[arg(long, default_value = "")]
    min_available: String,
    /// How many may be away, as a number or a percentage
    #[arg(long, default_value = "")]
    max_unavailable: String,
}

pub fn describe(arguments: Arguments) -> Result<Value, String> {
    let (least, most) = (&arguments.min_available, &arguments.max_unavailable);
    if arguments.selector.is_empty() {
        return Err("a selector must be specified".into());
    }
    let (field, amount) = match (least.is_empty(), most.is_empty()) {
        (true, true) => return Err("one of min-available or max-unavailable must be specified".into()),
        (false, false) => return Err("min-available and max-unavailable cannot be both specified".into()),
        (false, true) => (("minAvailable", "min-available"), least),
        (true, false) => (("maxUnavailable", "max-unavailable"), most),
    };
    let Some(amount) = number_or_percentage(amount) else {
        return Err(format!("invalid format specified for {}", field.1));
    };
    let selector = Selector::parse(&arguments.selector).map_err(|error| error.to_string())?;
    Ok(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": arguments.name.name},
        "spec": {field.0: amount, "selector": label_selector(selector.requirements())},
    }))
}

fn number_or_percentage(text: &str) -> Option<Value> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<i32>() {
        Ok(number) if is_number => Some(number.into()),
        _ => is_number.then(|| text.into()),
    }
}

/// What is said with an equal sign as matchLabels, and what is not as matchExpressions.
fn label_selector(requirements: &[Requirement]) -> Value {
    let (mut labels, mut expressions) = (Map::new(), Vec::new());
    for requirement in requirements {
        let (key, values) = (requirement.key(), requirement.values());
        match (requirement.operator(), values) {
            (Operator::Equals | Operator::DoubleEquals, [value]) => {
                labels.insert(key.into(), value.as_str().into());
            }
            (operator, values) => {
                let operator = match operator {
                    Operator::NotEquals | Operator::NotIn => "NotIn",
                    Operator::Exists => "Exists",
                    Operator::DoesNotExist => "DoesNotExist",
                    _ => "In",
                };
                expressions.push(json!({"key": key, "operator": operator, "values": values}));
            }
        }
    }
    let mut selector = json!({});
    if !labels.is_empty() {
        selector["matchLabels"] = labels.into();
    }
    if !expressions.is_empty() {
        selector["matchExpressions"] = expressions.into();
    }
    selector
}
