//! The profiles that this scheduler serves, by the name that pods ask for.

use crate::config::{Configuration, ConfiguredProfile};
use crate::plugin::Added;
use crate::profile::Profile;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Profiles {
    served_by_name: Arc<BTreeMap<String, Served>>,
}

/// A profile and the programs that add rules to it.
pub struct Served {
    pub profile: Profile,
    pub added: Vec<Arc<Added>>,
}

impl Profiles {
    /// Fails where a program's certificates cannot be read.
    pub fn new(configuration: &Configuration) -> anyhow::Result<Profiles> {
        let serve = |configured: &ConfiguredProfile| {
            let added = configured.added.iter().cloned();
            let added = added.filter(|plugin| plugin.filters || plugin.score_weight.is_some());
            let served = Served {
                profile: configured.profile.clone(),
                added: added
                    .map(|plugin| Added::new(plugin).map(Arc::new))
                    .collect::<anyhow::Result<_>>()?,
            };
            Ok((configured.profile.scheduler_name.clone(), served))
        };
        let served_by_name = configuration
            .profiles
            .iter()
            .map(serve)
            .collect::<anyhow::Result<_>>()?;
        Ok(Profiles {
            served_by_name: Arc::new(served_by_name),
        })
    }

    /// The profile of pods that ask for this scheduler; `None` where another scheduler is meant.
    pub fn of(&self, scheduler_name: &str) -> Option<&Served> {
        self.served_by_name.get(scheduler_name)
    }

    pub fn names(&self) -> Vec<&str> {
        self.served_by_name.keys().map(String::as_str).collect()
    }
}
