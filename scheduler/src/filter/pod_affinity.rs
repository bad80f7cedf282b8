//! Pods that want others near, or do not want them near (plugins/interpodaffinity). The scores read what is counted
//! here too.

use super::{Filter, RESOLVABLE, Reason, Remedy, UNRESOLVABLE, Wanted};
use crate::counting::{Carried, Counter, Place, Question, Who};
use crate::domains::Tally;
use crate::labels::Labels;
use crate::pods::{AffinityTerm, PodInfo, PodTerm};
use crate::profile::{Plugin, Profile};
use crate::snapshot::{NodeInfo, Surroundings};
use std::sync::Arc;

pub const FILTER: Filter = Filter {
    plugin: Plugin::InterPodAffinity,
    concerns: |wanted| wanted.pods.may_refuse(),
    check: |wanted, node| match wanted.pods.refuses(node)? {
        Broken::Affinity => UNRESOLVABLE,
        Broken::AntiAffinity | Broken::OfOthers => RESOLVABLE,
    },
    words: |wanted, node, say| {
        if let Some(broken) = wanted.pods.refuses(node) {
            say(broken.text());
        }
    },
    explain,
};

/// Which pods a pod wants near, which it does not, and which do not want it, with where they are.
#[derive(Clone, Debug, Default)]
pub struct WantedPods {
    /// A pod that all of these terms mean must be near by each of them.
    required: Vec<(AffinityTerm, Tally)>,
    /// The pod is one of those that it wants near: the first of them may go anywhere.
    itself: bool,
    /// No pod that this term means may be near.
    apart: Vec<(AffinityTerm, Tally)>,
    /// Pods that do not want this one near.
    objecting: Vec<Tally>,
    /// The same of pods that are only supposed to be there: label, value, how many.
    supposed: Vec<(Arc<str>, String, i32)>,
    /// What the nearness of each of these is worth.
    pub preferred: Vec<(i64, Tally)>,
}

impl WantedPods {
    pub fn of(
        counter: &mut dyn Counter,
        info: &PodInfo,
        surroundings: &Surroundings,
        profile: &Profile,
    ) -> WantedPods {
        let namespace_labels = surroundings.namespace_labels(&info.key.namespace);
        let mut wanted = WantedPods::default();
        let arguments = profile.inter_pod_affinity;
        let own = info.affinity.as_deref();
        let prefers = own.is_some_and(|own| !own.preferred.is_empty());
        for (carried, tally) in counter.said_of(info, namespace_labels) {
            let weight = match carried {
                Carried::RequiredAnti => {
                    wanted.objecting.push(tally);
                    continue;
                }
                _ if arguments.ignore_preferred_terms_of_existing_pods && !prefers => continue,
                Carried::Required => arguments.hard_pod_affinity_weight,
                Carried::Preferred(weight) => weight,
            };
            if weight != 0 {
                wanted.preferred.push((i64::from(weight), tally));
            }
        }
        let Some(own) = own else {
            return wanted;
        };
        let mut count = |terms: Vec<PodTerm>, topology_key: &Arc<str>| {
            counter.tally(&Question {
                who: Who::Selected {
                    terms,
                    terminating: true,
                },
                place: Place::default(),
                topology_key: topology_key.clone(),
            })
        };
        let all: Vec<PodTerm> = own.required.iter().map(|term| term.pods.clone()).collect();
        for term in &own.required {
            let tally = count(all.clone(), &term.topology_key);
            wanted.required.push((term.clone(), tally));
        }
        wanted.itself = all.iter().all(|term| term.matches(info, namespace_labels));
        for term in &own.required_anti {
            let tally = count(vec![term.pods.clone()], &term.topology_key);
            wanted.apart.push((term.clone(), tally));
        }
        for (weight, term) in &own.preferred {
            let tally = count(vec![term.pods.clone()], &term.topology_key);
            wanted.preferred.push((i64::from(*weight), tally));
        }
        wanted
    }

    fn may_refuse(&self) -> bool {
        !(self.required.is_empty()
            && self.apart.is_empty()
            && self.objecting.is_empty()
            && self.supposed.is_empty())
    }

    fn refuses(&self, node: &NodeInfo) -> Option<Broken> {
        if !self.has_required(node) {
            return Some(Broken::Affinity);
        }
        let is_there = |(_, tally): &(AffinityTerm, Tally)| tally.at(node.slot).is_some_and(|pods| pods > 0);
        if self.apart.iter().any(is_there) {
            return Some(Broken::AntiAffinity);
        }
        self.is_objected_to(node).then_some(Broken::OfOthers)
    }

    fn has_required(&self, node: &NodeInfo) -> bool {
        let mut are_there = true;
        for (_, tally) in &self.required {
            match tally.at(node.slot) {
                // All the labels must be there, whatever else.
                None => return false,
                Some(pods) => are_there &= pods > 0,
            }
        }
        are_there || self.itself && self.required.iter().all(|(_, tally)| tally.total() == 0)
    }

    fn is_objected_to(&self, node: &NodeInfo) -> bool {
        if self.supposed.is_empty() {
            let mut objecting = self.objecting.iter();
            return objecting.any(|tally| tally.at(node.slot).is_some_and(|pods| pods > 0));
        }
        // What was supposed of one term may stand with another of the same label: only their sum counts.
        let keys = self.objecting.iter().map(|tally| tally.topology.key());
        let mut keys = keys.chain(self.supposed.iter().map(|(key, ..)| key));
        keys.any(|key| {
            let same = self.objecting.iter().filter(|tally| tally.topology.key() == key);
            let there: i32 = same.filter_map(|tally| tally.at(node.slot)).sum();
            let value = node.labels.get(&**key);
            let supposed = self.supposed.iter();
            let supposed = supposed.filter(|(other, at, _)| other == key && Some(at) == value);
            there + supposed.map(|(.., times)| times).sum::<i32>() > 0
        })
    }

    /// Supposes that a pod came to a node, or went from it (`-1`).
    pub fn suppose(
        &mut self,
        wanted: &PodInfo,
        node: &NodeInfo,
        pod: &PodInfo,
        own_namespace: &Labels,
        its_namespace: &Labels,
        times: i32,
    ) {
        let its_terms = pod.affinity.iter().flat_map(|terms| &terms.required_anti);
        for term in its_terms.filter(|term| term.pods.matches(wanted, own_namespace)) {
            if let Some(value) = node.labels.get(&*term.topology_key) {
                self.supposed
                    .push((term.topology_key.clone(), value.clone(), times));
            }
        }
        if self
            .required
            .iter()
            .all(|(term, _)| term.pods.matches(pod, its_namespace))
        {
            for (_, tally) in &mut self.required {
                tally.suppose(node.slot, times);
            }
        }
        for (term, tally) in &mut self.apart {
            if term.pods.matches(pod, its_namespace) {
                tally.suppose(node.slot, times);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Broken {
    Affinity,
    AntiAffinity,
    OfOthers,
}

impl Broken {
    fn text(self) -> &'static str {
        match self {
            Broken::Affinity => "node(s) didn't match pod affinity rules",
            Broken::AntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Broken::OfOthers => "node(s) didn't satisfy existing pods anti-affinity rules",
        }
    }
}

fn explain(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    let Some(broken) = wanted.pods.refuses(node) else {
        return Vec::new();
    };
    let places = |terms: &[(AffinityTerm, Tally)], wrong: fn(Option<i32>) -> bool| {
        let wrong = terms.iter().filter(|(_, tally)| wrong(tally.at(node.slot)));
        let key = wrong.map(|(term, _)| &*term.topology_key).next();
        key.map_or(String::new(), |key| match node.labels.get(key) {
            Some(value) => format!("{key}={value}"),
            None => format!("no {key}"),
        })
    };
    let (detail, change) = match broken {
        Broken::Affinity => {
            let place = places(&wanted.pods.required, |pods| pods.is_none_or(|pods| pods == 0));
            (
                format!("no pod that it must be near to is in {place}"),
                format!(
                    "ran a pod that its pod affinity selects in {place} (or preferred the affinity only)"
                ),
            )
        }
        Broken::AntiAffinity => {
            let place = places(&wanted.pods.apart, |pods| pods.is_some_and(|pods| pods > 0));
            (
                format!("a pod that it must not be near to is in {place}"),
                format!(
                    "removed what its anti-affinity selects from {place} (or preferred the anti-affinity only)"
                ),
            )
        }
        Broken::OfOthers => (
            "a pod that must not be near to it is there".into(),
            "changed the labels by which pods there keep it away".into(),
        ),
    };
    vec![Reason {
        text: broken.text().into(),
        detail,
        remedy: Remedy::Relax { change },
    }]
}
