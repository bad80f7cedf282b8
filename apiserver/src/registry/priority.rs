//! A pod's priority comes from its class, and only one class may be everybody's
//! (plugin/pkg/admission/priority/admission.go).

use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::Status;
use gantry_proto::scheduling::v1::PriorityClass;
use gantry_proto::{Key, Kind as _};
use prost::Message as _;

use super::{Registry, admission, internal};
use crate::cache::{Cache, Selection};
use crate::strategy::{self, Object};

/// Of pods without a class, where no class is everybody's.
const DEFAULT_PRIORITY: i32 = 0;
const DEFAULT_PREEMPTION_POLICY: &str = "PreemptLowerPriority";

impl Registry {
    /// Gives a new pod the priority and the preemption policy of its class.
    pub(super) async fn admit_priority(&self, object: &mut dyn Object) -> Result<(), Status> {
        let Some(pod) = strategy::typed_mut::<Pod>(object) else {
            return Ok(());
        };
        let class = match pod.spec().priority_class_name.as_str() {
            "" => self.default_class()?,
            name => Some(self.class(pod, name).await?),
        };
        give(pod, class.as_ref())
    }

    /// Waits for the cache of classes, on whose present state it depends whether one may be written.
    pub(super) async fn catch_up(&self, cache: &Cache) -> Result<(), Status> {
        if cache.kind().message == PriorityClass::INFO.message {
            cache.consistent().await?;
        }
        Ok(())
    }

    /// Refuses a second class that would be everybody's.
    pub(super) fn check_default_class(
        &self,
        new: &dyn Object,
        old: Option<&dyn Object>,
    ) -> Result<(), Status> {
        let Some(new) = strategy::typed::<PriorityClass>(new).filter(|class| class.global_default) else {
            return Ok(());
        };
        let Some(present) = self.default_class()? else {
            return Ok(());
        };
        let name = &present.metadata().name;
        if old.is_some() && *name == new.metadata().name {
            return Ok(());
        }
        let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
        Err(admission::forbidden(PriorityClass::INFO, new.metadata(), &why))
    }

    /// The class, which may have been made a moment ago.
    async fn class(&self, pod: &Pod, name: &str) -> Result<PriorityClass, Status> {
        let (cache, key) = (self.cache::<PriorityClass>()?, Key::cluster(name));
        let mut found = cache.get(&key);
        if found.is_none() {
            found = cache.consistent().await?.objects.get(&key);
        }
        let Some(entry) = found else {
            let why = format!("no PriorityClass with name {name} was found");
            return Err(admission::forbidden(Pod::INFO, pod.metadata(), &why));
        };
        PriorityClass::decode(&*entry.raw).map_err(internal)
    }

    /// The class of pods that name none. Should two have become that at the same moment, the lower counts.
    fn default_class(&self) -> Result<Option<PriorityClass>, Status> {
        let present = self.cache::<PriorityClass>()?.present();
        let all = Selection::all("");
        let classes = present.objects.select(&all, None);
        let classes = classes.filter_map(|entry| PriorityClass::decode(&*entry.raw).ok());
        Ok(classes
            .filter(|class| class.global_default)
            .min_by_key(|class| class.value))
    }
}

/// Gives the pod what its class says, unless it says something else itself.
fn give(pod: &mut Pod, class: Option<&PriorityClass>) -> Result<(), Status> {
    let (name, priority, policy) = match class {
        Some(class) => (
            class.metadata().name.clone(),
            class.value,
            class.preemption_policy.clone(),
        ),
        None => (
            String::new(),
            DEFAULT_PRIORITY,
            Some(DEFAULT_PREEMPTION_POLICY.to_owned()),
        ),
    };
    let spec = pod.spec();
    let refusal = match (
        spec.priority,
        spec.preemption_policy.as_deref(),
        policy.as_deref(),
    ) {
        (Some(own), ..) if own != priority => Some(format!(
            "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        )),
        (_, Some(own), Some(policy)) if own != policy => Some(format!(
            "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )),
        _ => None,
    };
    if let Some(why) = refusal {
        return Err(admission::forbidden(Pod::INFO, pod.metadata(), &why));
    }
    let spec = pod.spec_mut();
    spec.priority_class_name = name;
    spec.priority = Some(priority);
    if policy.is_some() {
        spec.preemption_policy = policy;
    }
    Ok(())
}

/// Lets a pod keep what it was given, where an update leaves it out.
pub(super) fn keep(new: &mut dyn Object, old: &dyn Object) {
    let (Some(new), Some(old)) = (strategy::typed_mut::<Pod>(new), strategy::typed::<Pod>(old)) else {
        return;
    };
    let spec = new.spec_mut();
    spec.priority = spec.priority.or(old.spec().priority);
    if spec.preemption_policy.is_none() {
        spec.preemption_policy.clone_from(&old.spec().preemption_policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, value: i32, policy: &str) -> PriorityClass {
        let mut class = PriorityClass {
            value,
            preemption_policy: Some(policy.to_owned()),
            ..PriorityClass::default()
        };
        class.metadata_mut().name = name.to_owned();
        class
    }

    #[test]
    fn a_pod_has_the_priority_of_its_class_or_none_of_its_own() {
        let check =
            |priority: Option<i32>, policy: Option<&str>, class: Option<&PriorityClass>, expected: &str| {
                let mut pod = Pod::default();
                pod.metadata_mut().generate_name = "web-".into();
                pod.spec_mut().priority = priority;
                pod.spec_mut().preemption_policy = policy.map(str::to_owned);
                let found = match give(&mut pod, class) {
                    Err(status) => status.message,
                    Ok(()) => {
                        let spec = pod.spec();
                        let policy = spec.preemption_policy.as_deref().unwrap_or_default();
                        let priority = spec.priority.unwrap_or_default();
                        format!("{} {priority} {policy}", spec.priority_class_name)
                    }
                };
                assert_eq!(found, expected);
            };
        let high = class("high", 1000, "Never");
        check(None, None, None, " 0 PreemptLowerPriority");
        check(None, None, Some(&high), "high 1000 Never");
        check(Some(1000), Some("Never"), Some(&high), "high 1000 Never");
        check(
            Some(7),
            None,
            None,
            "pods \"web-\" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority \
             admission controller computed 0 from the given PriorityClass name",
        );
        check(
            None,
            Some("Never"),
            None,
            "pods \"web-\" is forbidden: the string value of PreemptionPolicy (Never) must not be provided in pod \
             spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name",
        );
    }

    #[test]
    fn an_update_that_leaves_out_the_priority_keeps_it() {
        let mut old = Pod::default();
        give(&mut old, Some(&class("high", 1000, "Never"))).unwrap();
        let mut new = Pod::default();
        keep(&mut new, &old);
        assert_eq!(new.spec().priority, Some(1000));
        assert_eq!(new.spec().preemption_policy.as_deref(), Some("Never"));
    }
}
