//! Taints with effect NoSchedule or NoExecute keep out pods that do not tolerate them (plugins/tainttoleration).

use super::{Filter, Reason, Remedy, UNRESOLVABLE, Wanted};
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;
use gantry_proto::core::v1::{Taint, Toleration};

pub const FILTER: Filter = Filter {
    plugin: Plugin::TaintToleration,
    concerns: |_| true,
    check: |wanted, node| match node.tainted && !tolerates_all(&wanted.spec.tolerations, &node.taints) {
        true => UNRESOLVABLE,
        false => None,
    },
    words: |wanted, node, say| {
        if !tolerates_all(&wanted.spec.tolerations, &node.taints) {
            say(TEXT);
        }
    },
    explain,
};

const TEXT: &str = "node(s) had untolerated taint(s)";

fn explain(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    // As in kube-scheduler the first such taint stands for all.
    let Some(taint) = untolerated(&wanted.spec.tolerations, &node.taints) else {
        return Vec::new();
    };
    vec![Reason {
        text: TEXT.into(),
        detail: format!("taint {}", display(taint)),
        remedy: Remedy::Tolerate {
            taint: display(taint),
        },
    }]
}

/// The first taint that keeps pods out and that none of the tolerations covers.
fn untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    taints.iter().find(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    })
}

/// Whether none of the taints keeps out a pod with these tolerations.
pub fn tolerates_all(tolerations: &[Toleration], taints: &[Taint]) -> bool {
    untolerated(tolerations, taints).is_none()
}

/// Whether a toleration covers a taint (api/core/v1 Toleration.ToleratesTaint). The operators Lt and Gt are behind a
/// feature gate that is off in 1.36 (TaintTolerationComparisonOperators): they cover nothing.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
    let key = toleration.key.is_empty() || toleration.key == taint.key;
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
                value: "5".into(),
                effect: "NoSchedule".into(),
                time_added: None,
            };
            assert_eq!(
                tolerates(&toleration, &taint),
                covers,
                "{key} {operator} {value} {effect}"
            );
        };
        check(("k", "Equal", "5", "NoSchedule"), true);
        check(("k", "", "5", ""), true);
        check(("k", "Exists", "", ""), true);
        check(("", "Exists", "", ""), true);
        check(("k", "Equal", "6", ""), false);
        check(("j", "Exists", "", ""), false);
        check(("k", "Exists", "", "NoExecute"), false);
        check(("k", "Lt", "9", ""), false);
    }
}
