//! What the control plane's own components may do.

use super::{Attributes, User};
use crate::request::Verb::{self, Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch};

/// Allows verbs on resources, in all namespaces.
struct Rule {
    verbs: &'static [Verb],
    /// Group resources, with `/` and the subresource where it is about one; `*` for every resource itself.
    resources: &'static [&'static str],
}

/// What a user or a group may do.
struct Grant {
    subject: Subject,
    rules: &'static [Rule],
}

enum Subject {
    User(&'static str),
    Group(&'static str),
}

const READ: &[Verb] = &[Get, List, Watch];
const WRITE: &[Verb] = &[Create, Update, Patch];
const OWN_LEASES: Rule = Rule {
    verbs: &[Get, List, Watch, Create, Update, Patch],
    resources: &["leases.coordination.k8s.io"],
};
const EVENTS: Rule = Rule {
    verbs: WRITE,
    resources: &["events"],
};

const GRANTS: &[Grant] = &[
    Grant {
        subject: Subject::User("system:kube-scheduler"),
        rules: &[
            Rule {
                verbs: READ,
                resources: &[
                    "pods",
                    "nodes",
                    "namespaces",
                    "services",
                    "replicasets.apps",
                    "poddisruptionbudgets.policy",
                    "priorityclasses.scheduling.k8s.io",
                ],
            },
            // Preemption deletes pods.
            Rule {
                verbs: &[Delete],
                resources: &["pods"],
            },
            Rule {
                verbs: &[Create],
                resources: &["pods/binding"],
            },
            Rule {
                verbs: &[Patch, Update],
                resources: &["pods/status"],
            },
            OWN_LEASES,
            EVENTS,
        ],
    },
    Grant {
        subject: Subject::User("system:kube-controller-manager"),
        rules: &[
            // Deleting a namespace and collecting garbage concern every resource; so do owner references and
            // finalizers, which are changed by patches.
            Rule {
                verbs: &[Get, List, Watch, Patch, Delete, DeleteCollection],
                resources: &["*"],
            },
            Rule {
                verbs: WRITE,
                resources: &[
                    "pods",
                    "pods/status",
                    "deployments.apps",
                    "deployments.apps/status",
                    "replicasets.apps",
                    "replicasets.apps/status",
                    "replicasets.apps/scale",
                    "controllerrevisions.apps",
                    "endpointslices.discovery.k8s.io",
                    "endpoints",
                    "poddisruptionbudgets.policy/status",
                    "servicecidrs.networking.k8s.io/status",
                    "ipaddresses.networking.k8s.io",
                    "nodes",
                    "nodes/status",
                    "namespaces/status",
                    "namespaces/finalize",
                    "services/status",
                    "serviceaccounts",
                    "configmaps",
                ],
            },
            OWN_LEASES,
            EVENTS,
        ],
    },
    Grant {
        subject: Subject::Group("system:node-proxier"),
        rules: &[
            Rule {
                verbs: READ,
                resources: &["services", "endpointslices.discovery.k8s.io", "nodes"],
            },
            EVENTS,
        ],
    },
];

/// Whether the table has a rule that allows the request.
pub(super) fn allows(user: &User, request: &Attributes<'_>) -> bool {
    grants_of(user)
        .flat_map(|grant| grant.rules)
        .any(|rule| rule.verbs.contains(&request.verb) && rule.covers(request))
}

fn grants_of(user: &User) -> impl Iterator<Item = &'static Grant> {
    GRANTS.iter().filter(|grant| match grant.subject {
        Subject::User(name) => user.name == name,
        Subject::Group(name) => user.is_in(name),
    })
}

/// Whom the table names for this user.
pub(super) fn subject_of(user: &User) -> String {
    match grants_of(user).next().map(|grant| &grant.subject) {
        Some(Subject::User(name)) => format!("allowed to User \"{name}\""),
        Some(Subject::Group(name)) => format!("allowed to Group \"{name}\""),
        None => String::new(),
    }
}

impl Rule {
    fn covers(&self, request: &Attributes<'_>) -> bool {
        let own = request.kind.group_resource();
        self.resources
            .iter()
            .any(|resource| match (*resource, request.subresource) {
                ("*", subresource) => subresource.is_empty(),
                (resource, "") => resource == own,
                (resource, subresource) => resource
                    .split_once('/')
                    .is_some_and(|pair| pair == (own.as_str(), subresource)),
            })
    }
}
