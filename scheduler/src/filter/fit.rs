//! A node must have what the pod asks for (plugins/noderesources/fit.go).

use super::{Filter, Reason, Remedy, Wanted};
use crate::profile::{FitArguments, Plugin};
use crate::resources::{PODS, display, is_extended};
use crate::snapshot::NodeInfo;

pub const FILTER: Filter = Filter {
    plugin: Plugin::NodeResourcesFit,
    concerns: |_| true,
    check,
    words,
    explain,
};

/// What the node could not give even if it were empty no preemption gets.
fn check(wanted: &Wanted, node: &NodeInfo) -> Option<bool> {
    let requests = &wanted.info.takes.requests;
    let (all, taken) = (&node.allocatable, &node.requested);
    // What nearly every pod asks for first, without looking anything up.
    let mut short = false;
    let mut never = false;
    let mut look = |wanted: i64, all: i64, taken: i64| {
        if wanted > 0 && wanted > all - taken {
            short = true;
            never |= wanted > all;
        }
    };
    look(requests.milli_cpu, all.milli_cpu, taken.milli_cpu);
    look(requests.memory, all.memory, taken.memory);
    look(
        requests.ephemeral_storage,
        all.ephemeral_storage,
        taken.ephemeral_storage,
    );
    for (name, amount) in requests.scalars() {
        if !is_ignored(&wanted.profile.node_resources_fit, name) {
            look(amount, all.get(name), taken.get(name));
        }
    }
    // A full node never counts as one that no preemption helps.
    short |= requests.pods > all.pods - taken.pods;
    short.then_some(!never)
}

fn words(wanted: &Wanted, node: &NodeInfo, say: &mut dyn FnMut(&str)) {
    let requests = &wanted.info.takes.requests;
    let (all, taken) = (&node.allocatable, &node.requested);
    let mut look = |text: &str, wanted: i64, all: i64, taken: i64| {
        if wanted > 0 && wanted > all - taken {
            say(text);
        }
    };
    look("Too many pods", requests.pods, all.pods, taken.pods);
    look(
        "Insufficient cpu",
        requests.milli_cpu,
        all.milli_cpu,
        taken.milli_cpu,
    );
    look("Insufficient memory", requests.memory, all.memory, taken.memory);
    look(
        "Insufficient ephemeral-storage",
        requests.ephemeral_storage,
        all.ephemeral_storage,
        taken.ephemeral_storage,
    );
    for (name, amount) in requests.scalars() {
        if amount > node.free(name) && !is_ignored(&wanted.profile.node_resources_fit, name) {
            say(&format!("Insufficient {name}"));
        }
    }
}

/// What is not there, with how much of it the pod asks for.
fn insufficient<'w>(wanted: &'w Wanted, node: &'w NodeInfo) -> impl Iterator<Item = (&'w str, i64)> {
    let arguments = &wanted.profile.node_resources_fit;
    let requests = wanted.info.takes.requests.iter();
    requests.filter(move |(name, amount)| {
        *amount > 0 && *amount > node.free(name) && !is_ignored(arguments, name)
    })
}

fn explain(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    insufficient(wanted, node)
        .map(|(name, amount)| {
            let free = node.free(name).max(0);
            let all = node.allocatable.get(name);
            Reason {
                text: if name == PODS {
                    "Too many pods".into()
                } else {
                    format!("Insufficient {name}").into()
                },
                detail: format!(
                    "requests {} {name}; {} of {} free",
                    display(name, amount),
                    display(name, free),
                    display(name, all)
                ),
                remedy: Remedy::Request {
                    resource: name.into(),
                    at_most: free,
                    wanted: amount,
                },
            }
        })
        .collect()
}

/// Whether the profile leaves a resource to somebody else.
fn is_ignored(arguments: &FitArguments, name: &str) -> bool {
    if arguments.ignored_resources.is_empty() && arguments.ignored_resource_groups.is_empty() {
        return false;
    }
    let group = name.split_once('/').map_or(name, |(group, _)| group);
    is_extended(name)
        && (arguments.ignored_resources.iter().any(|ignored| ignored == name)
            || arguments
                .ignored_resource_groups
                .iter()
                .any(|ignored| ignored == group))
}
