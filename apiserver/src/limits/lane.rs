//! Which lane a user's requests are in.

use crate::authentication::{MASTERS, User};

/// A share of the server. The names are those of Kubernetes' priority levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The administrator. Kubernetes lets these requests pass without limit; here they have seats of their own.
    Exempt,
    /// Node agents and proxies.
    System,
    /// The scheduler, the controller-manager, and what runs in kube-system.
    WorkloadHigh,
    /// Other service accounts.
    WorkloadLow,
    /// Everybody else.
    GlobalDefault,
}

impl Lane {
    pub const ALL: [Lane; 5] = [
        Lane::Exempt,
        Lane::System,
        Lane::WorkloadHigh,
        Lane::WorkloadLow,
        Lane::GlobalDefault,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Lane::Exempt => "exempt",
            Lane::System => "system",
            Lane::WorkloadHigh => "workload-high",
            Lane::WorkloadLow => "workload-low",
            Lane::GlobalDefault => "global-default",
        }
    }

    /// The lane's part of all seats, and how much of that it lends to others while it has no use for it, in
    /// hundredths. Kubernetes' shares, with those of its levels node-high and leader-election in `system` and
    /// `workload-high`; the administrator's tenth is ours.
    fn share(self) -> (usize, usize) {
        match self {
            Lane::Exempt => (10, 0),
            Lane::System => (26, 30),
            Lane::WorkloadHigh => (19, 50),
            Lane::WorkloadLow => (36, 90),
            Lane::GlobalDefault => (9, 50),
        }
    }

    /// The seats that are meant for the lane.
    pub fn nominal(self, seats: usize) -> usize {
        (seats * self.share().0 / 100).max(1)
    }

    /// The seats that nobody else gets.
    pub fn reserved(self, seats: usize) -> usize {
        let (_, lent) = self.share();
        (self.nominal(seats) * (100 - lent) / 100).max(1)
    }
}

/// Whose requests these are, as metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub lane: Lane,
    /// The name of Kubernetes' flow schema that has these users.
    pub schema: &'static str,
}

/// The flow of a user's requests.
pub fn flow_of(user: &User) -> Flow {
    let flow = |schema, lane| Flow { lane, schema };
    if user.is_in(MASTERS) {
        return flow("exempt", Lane::Exempt);
    }
    match user.name.as_str() {
        "system:kube-controller-manager" => return flow("kube-controller-manager", Lane::WorkloadHigh),
        "system:kube-scheduler" => return flow("kube-scheduler", Lane::WorkloadHigh),
        _ => {}
    }
    let by_group = [
        ("system:nodes", "system-nodes", Lane::System),
        ("system:node-proxier", "system-node-proxies", Lane::System),
        (
            "system:serviceaccounts:kube-system",
            "kube-system-service-accounts",
            Lane::WorkloadHigh,
        ),
        ("system:serviceaccounts", "service-accounts", Lane::WorkloadLow),
    ];
    let mut by_group = by_group.into_iter();
    by_group.find(|(group, ..)| user.is_in(group)).map_or(
        flow("global-default", Lane::GlobalDefault),
        |(_, schema, lane)| flow(schema, lane),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_in_the_lane_of_kubernetes_flow_schemas() {
        let check = |name: &str, groups: &[&str], schema: &str, level: &str| {
            let user = User {
                name: name.into(),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            };
            let flow = flow_of(&user);
            assert_eq!((flow.schema, flow.lane.name()), (schema, level), "{name}");
        };
        check("kubernetes-admin", &["system:masters"], "exempt", "exempt");
        check("system:node:n1", &["system:nodes"], "system-nodes", "system");
        check(
            "system:kube-scheduler",
            &["system:authenticated"],
            "kube-scheduler",
            "workload-high",
        );
        check(
            "system:serviceaccount:kube-system:dns",
            &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
            "kube-system-service-accounts",
            "workload-high",
        );
        check(
            "system:serviceaccount:default:app",
            &["system:serviceaccounts", "system:serviceaccounts:default"],
            "service-accounts",
            "workload-low",
        );
        check(
            "jane",
            &["system:authenticated"],
            "global-default",
            "global-default",
        );
        check(
            "system:anonymous",
            &["system:unauthenticated"],
            "global-default",
            "global-default",
        );
    }

    #[test]
    fn what_is_reserved_leaves_seats_for_whoever_comes() {
        for seats in [5, 6, 10, 100, 600, 5000] {
            let reserved: usize = Lane::ALL.iter().map(|lane| lane.reserved(seats)).sum();
            assert!(reserved <= seats, "{reserved} of {seats}");
        }
        let of_600: Vec<usize> = Lane::ALL.iter().map(|lane| lane.reserved(600)).collect();
        assert_eq!(of_600, [60, 109, 57, 21, 27]);
    }
}
