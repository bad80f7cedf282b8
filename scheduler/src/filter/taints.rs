//! Taints with effect NoSchedule or NoExecute keep out pods that do not tolerate them.

use super::{Reason, Remedy, Wanted};
use crate::snapshot::NodeInfo;
use gantry_proto::core::v1::{Taint, Toleration};

pub fn filter(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    let keeps_out = |taint: &&Taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !wanted
                .spec
                .tolerations
                .iter()
                .any(|toleration| tolerates(toleration, taint))
    };
    // As in kube-scheduler the first such taint stands for all.
    let Some(taint) = node.taints.iter().find(keeps_out) else {
        return Vec::new();
    };
    vec![Reason {
        text: format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value),
        detail: format!("effect {}", taint.effect),
        remedy: Remedy::Tolerate {
            taint: display(taint),
        },
    }]
}

/// Whether a toleration covers a taint (api/core/v1 Toleration.ToleratesTaint).
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
    let key = toleration.key.is_empty() && toleration.operator == "Exists" || toleration.key == taint.key;
    let value = match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        _ => false,
    };
    effect && key && value
}

fn display(taint: &Taint) -> String {
    match taint.value.as_str() {
        "" => format!("{}:{}", taint.key, taint.effect),
        value => format!("{}={value}:{}", taint.key, taint.effect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toleration_covers_a_taint_by_effect_key_and_value() {
        let check = |(key, operator, value, effect): (&str, &str, &str, &str), covers: bool| {
            let toleration = Toleration {
                key: key.into(),
                operator: operator.into(),
                value: value.into(),
                effect: effect.into(),
                toleration_seconds: None,
            };
            let taint = Taint {
                key: "k".into(),
                value: "v".into(),
                effect: "NoSchedule".into(),
                time_added: None,
            };
            assert_eq!(
                tolerates(&toleration, &taint),
                covers,
                "{key} {operator} {value} {effect}"
            );
        };
        check(("k", "Equal", "v", "NoSchedule"), true);
        check(("k", "", "v", ""), true);
        check(("k", "Exists", "", ""), true);
        check(("", "Exists", "", ""), true);
        check(("k", "Equal", "w", ""), false);
        check(("j", "Exists", "", ""), false);
        check(("k", "Exists", "", "NoExecute"), false);
    }
}
