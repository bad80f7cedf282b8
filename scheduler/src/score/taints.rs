//! Few taints that would rather not have the pod (plugins/tainttoleration).

use super::{Choice, Score, stretch};
use crate::filter::{Wanted, tolerates};
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;

pub const SCORE: Score = Score {
    plugin: Plugin::TaintToleration,
    rate,
};

fn rate(wanted: &Wanted, choice: &Choice, scores: &mut Vec<i64>) -> bool {
    if choice.nodes.iter().all(|node| !node.tainted) {
        return false;
    }
    scores.extend(choice.nodes.iter().map(|node| unwanted(wanted, node)));
    // Where none has such a taint all are as good.
    if scores.iter().all(|taints| *taints == 0) {
        return false;
    }
    stretch(scores, true);
    true
}

/// How many PreferNoSchedule taints the pod does not tolerate.
fn unwanted(wanted: &Wanted, node: &NodeInfo) -> i64 {
    let unwanted = node.taints.iter().filter(|taint| {
        taint.effect == "PreferNoSchedule"
            && !wanted
                .spec
                .tolerations
                .iter()
                .any(|toleration| tolerates(toleration, taint))
    });
    i64::try_from(unwanted.count()).unwrap_or(i64::MAX)
}
