use super::*;
use crate::profile::{DefaultConstraints, Plugin, Preemption, ScoringStrategy};

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

fn parse(text: &str) -> Configuration {
    Configuration::parse(&format!("{HEAD}{text}")).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let told = Configuration::parse(&format!("{HEAD}{text}")).map_err(|error| error.to_string());
    assert_eq!(told, Err(expected.to_string()), "{text}");
}

#[test]
fn an_empty_file_is_the_default_profile() {
    let configuration = parse("");
    assert_eq!(configuration, Configuration::of_name("default-scheduler"));
    assert_eq!(parse("profiles: []\nleaderElection: {}"), configuration);
}

#[test]
fn rules_are_enabled_and_disabled_by_point() {
    let check = |plugins: &str, expected: fn(&mut Profile)| {
        let text = format!("profiles:\n- schedulerName: mine\n  plugins:\n{plugins}");
        let mut profile = Profile::named("mine");
        expected(&mut profile);
        let told = parse(&text).profiles.remove(0).profile;
        assert_eq!(told, profile, "{plugins}");
    };
    check("    filter: {disabled: [{name: NodePorts}]}", |profile| {
        profile.filters.remove(Plugin::NodePorts);
    });
    check(
        "    multiPoint: {disabled: [{name: TaintToleration}]}",
        |profile| {
            profile.filters.remove(Plugin::TaintToleration);
            profile
                .scores
                .retain(|(plugin, _)| *plugin != Plugin::TaintToleration);
        },
    );
    check(
        "    score: {disabled: [{name: '*'}], enabled: [{name: ImageLocality, weight: 7}]}",
        |profile| {
            profile.scores = vec![(Plugin::ImageLocality, 7)];
        },
    );
    // A weight that is given at a point counts more than that of all points; none is 1.
    check("    score: {enabled: [{name: NodeAffinity}]}", |profile| {
        profile
            .scores
            .retain(|(plugin, _)| *plugin != Plugin::NodeAffinity);
        profile.scores.insert(0, (Plugin::NodeAffinity, 1));
    });
    check(
        "    multiPoint: {enabled: [{name: NodeAffinity, weight: 9}]}",
        |profile| {
            for (plugin, weight) in &mut profile.scores {
                if *plugin == Plugin::NodeAffinity {
                    *weight = 9;
                }
            }
        },
    );
    check("    postFilter: {disabled: [{name: '*'}]}", |profile| {
        profile.preemption = None
    });
    check(
        "    multiPoint: {disabled: [{name: '*'}], enabled: [{name: PrioritySort}, {name: DefaultBinder}, {name: NodeName}]}",
        |profile| {
            profile.filters = [Plugin::NodeName].into_iter().collect();
            profile.scores.clear();
            profile.preemption = None;
        },
    );
}

#[test]
fn arguments_change_what_rules_do() {
    let text = "
profiles:
- pluginConfig:
  - name: DefaultPreemption
    args: {apiVersion: kubescheduler.config.k8s.io/v1, kind: DefaultPreemptionArgs, minCandidateNodesAbsolute: 5}
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 100, ignorePreferredTermsOfExistingPods: true}
  - name: NodeResourcesFit
    args:
      ignoredResources: [example.com/foo]
      ignoredResourceGroups: [example.org]
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: cpu}, {name: nvidia.com/gpu, weight: 3}]
        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - name: NodeResourcesBalancedAllocation
    args: {resources: [{name: memory, weight: 1}]}
  - name: PodTopologySpread
    args:
      defaultingType: List
      defaultConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: In, values: [ssd]}]}]
percentageOfNodesToScore: 30
";
    let profile = parse(text).profiles.remove(0).profile;
    let preemption = Preemption {
        min_candidate_nodes_percentage: 10,
        min_candidate_nodes_absolute: 5,
    };
    assert_eq!(profile.preemption, Some(preemption));
    assert_eq!(profile.inter_pod_affinity.hard_pod_affinity_weight, 100);
    assert!(profile.inter_pod_affinity.ignore_preferred_terms_of_existing_pods);
    let fit = &profile.node_resources_fit;
    assert_eq!(fit.ignored_resources, ["example.com/foo"]);
    assert_eq!(fit.ignored_resource_groups, ["example.org"]);
    let shape = vec![(0, 0), (100, 10)];
    assert_eq!(fit.strategy, ScoringStrategy::RequestedToCapacityRatio { shape });
    let weights: Vec<_> = fit
        .resources
        .iter()
        .map(|r| (r.resource.as_str(), r.weight))
        .collect();
    assert_eq!(weights, [("cpu", 1), ("nvidia.com/gpu", 3)]);
    assert_eq!(profile.balanced_allocation.len(), 1);
    let DefaultConstraints::List(constraints) = &profile.pod_topology_spread else {
        panic!("{:?}", profile.pod_topology_spread)
    };
    assert_eq!(constraints[0].max_skew, 2);
    let required = profile.node_affinity.required.unwrap();
    assert_eq!(required.node_selector_terms[0].match_expressions[0].key, "disk");
    assert_eq!(profile.percentage_of_nodes_to_score, Some(30));
}

#[test]
fn several_profiles_and_times_are_read() {
    let text = "
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
leaderElection: {leaderElect: true, leaseDuration: 1m5s}
profiles:
- schedulerName: one
  percentageOfNodesToScore: 0
- schedulerName: two
";
    let configuration = parse(text);
    let names: Vec<_> = configuration
        .profiles
        .iter()
        .map(|configured| configured.profile.scheduler_name.as_str())
        .collect();
    assert_eq!(names, ["one", "two"]);
    let backoff = Backoff {
        first: Duration::from_secs(2),
        last: Duration::from_secs(20),
    };
    assert_eq!(configuration.backoff, backoff);
    assert_eq!(
        configuration.leader_election.lease_duration,
        Some(Duration::from_secs(65))
    );
    assert_eq!(configuration.warnings, Vec::<String>::new());
}

#[test]
fn what_changes_nothing_is_a_warning() {
    let text = "
parallelism: 8
leaderElection: {resourceName: kube-scheduler}
clientConnection: {kubeconfig: /etc/x}
profiles:
- plugins: {filter: {enabled: [{name: VolumeZone}]}}
  pluginConfig: [{name: VolumeBinding, args: {bindTimeoutSeconds: 5}}]
";
    let told = parse(text).warnings;
    let starts = [
        "clientConnection",
        "leaderElection.resourceName",
        "parallelism",
        "profiles[0].pluginConfig[0]",
        "profiles[0].plugins",
    ];
    let mut paths: Vec<&str> = told.iter().filter_map(|text| text.split(": ").next()).collect();
    paths.sort_unstable();
    assert_eq!(paths, starts, "{told:?}");
}

#[test]
fn unknown_fields_and_kinds_are_refused_with_their_place() {
    refused(
        "profiles: [{schedulerNam: x, plugins: {score: {enable: []}}}]\nparalellism: 1",
        "strict decoding error: unknown field \"paralellism\", unknown field \"profiles[0].plugins.score.enable\", \
         unknown field \"profiles[0].schedulerNam\"",
    );
    refused(
        "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {ignoredResource: []}}]}]",
        "decoding .profiles[0].pluginConfig[0]: decoding args for plugin NodeResourcesFit: strict decoding error: \
         unknown field \"ignoredResource\"",
    );
    refused(
        "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {kind: InterPodAffinityArgs}}]}]",
        "decoding .profiles[0].pluginConfig[0]: args for plugin NodeResourcesFit were not of type \
         NodeResourcesFitArgs.kubescheduler.config.k8s.io, got InterPodAffinityArgs.kubescheduler.config.k8s.io",
    );
    refused(
        "podMaxBackoffSeconds: soon",
        "podMaxBackoffSeconds: invalid type: string \"soon\", expected i64",
    );
    refused(
        "parallelism: 1\nparallelism: 2",
        "strict decoding error: yaml: unmarshal errors:\n  line 4: key \"parallelism\" already set in map",
    );
    let of = |text: &str| Configuration::parse(text).unwrap_err().to_string();
    assert_eq!(
        of("profiles: []"),
        "Object 'Kind' is missing in '{\"profiles\":[]}'"
    );
    let old = of("apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration");
    assert!(
        old.starts_with(
            "no kind \"KubeSchedulerConfiguration\" is registered for version \"kubescheduler.config.k8s.io/v1beta3\""
        ),
        "{old}"
    );
}

#[test]
fn values_out_of_range_are_refused_in_kube_schedulers_words() {
    refused(
        "parallelism: 0",
        "parallelism: Invalid value: 0: should be an integer value greater than zero",
    );
    refused(
        "percentageOfNodesToScore: 101",
        "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
    );
    refused(
        "podInitialBackoffSeconds: 0",
        "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0",
    );
    refused(
        "podInitialBackoffSeconds: 12",
        "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
    );
    refused(
        "profiles: [{}, {schedulerName: b}]",
        "profiles[0].schedulerName: Required value",
    );
    refused(
        "profiles: [{schedulerName: b}, {schedulerName: b}]",
        "profiles[1].schedulerName: Duplicate value: \"profiles[0].schedulerName\"",
    );
    refused(
        "parallelism: -1\npercentageOfNodesToScore: -1",
        "[parallelism: Invalid value: -1: should be an integer value greater than zero, \
         percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]]",
    );
    refused(
        "leaderElection: {resourceLock: endpoints}",
        "leaderElection.resourceLock: Invalid value: \"endpoints\": resourceLock value must be \"leases\"",
    );
}

#[track_caller]
fn refused_args(plugin: &str, args: &str, expected: &str) {
    let text = format!("profiles: [{{pluginConfig: [{{name: {plugin}, args: {args}}}]}}]");
    refused(&text, &format!("profiles[0].pluginConfig[0].args.{expected}"));
}

#[test]
fn arguments_out_of_range_are_refused() {
    refused_args(
        "DefaultPreemption",
        "{minCandidateNodesPercentage: 200}",
        "minCandidateNodesPercentage: Invalid value: 200: not in valid range [0, 100]",
    );
    refused_args(
        "InterPodAffinity",
        "{hardPodAffinityWeight: -1}",
        "hardPodAffinityWeight: Invalid value: -1: not in valid range [0, 100]",
    );
    refused_args(
        "NodeResourcesFit",
        "{scoringStrategy: {type: Best}}",
        "scoringStrategy.type: Unsupported value: \"Best\": supported values: \"LeastAllocated\", \"MostAllocated\", \
         \"RequestedToCapacityRatio\"",
    );
    refused_args(
        "NodeResourcesFit",
        "{scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 200}]}}",
        "scoringStrategy.resources[0].weight: Invalid value: 200: resource weight of cpu not in valid range (0, 100]",
    );
    refused_args(
        "NodeResourcesFit",
        "{scoringStrategy: {type: RequestedToCapacityRatio}}",
        "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is \
         RequestedToCapacityRatio",
    );
    refused_args(
        "NodeResourcesBalancedAllocation",
        "{resources: [{name: cpu, weight: 2}]}",
        "resources[0].weight: Invalid value: 2: must be 1",
    );
    refused_args(
        "PodTopologySpread",
        "{defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}",
        "defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty",
    );
    refused_args(
        "PodTopologySpread",
        "{defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}",
        "defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)",
    );
}

#[test]
fn profiles_that_cannot_be_made_are_refused() {
    let check = |plugins: &str, why: &str| {
        refused(
            &format!("profiles: [{{plugins: {plugins}}}]"),
            &format!("initializing profiles: creating profile for scheduler name default-scheduler: {why}"),
        );
    };
    check(
        "{filter: {enabled: [{name: Foo}]}}",
        "FilterPlugin \"Foo\" does not exist",
    );
    check(
        "{multiPoint: {enabled: [{name: Foo}]}}",
        "PreFilterPlugin \"Foo\" does not exist",
    );
    refused(
        "parallelism: 0\nprofiles: [{plugins: {filter: {enabled: [{name: Foo}]}}}]",
        "parallelism: Invalid value: 0: should be an integer value greater than zero",
    );
    check(
        "{filter: {enabled: [{name: ImageLocality}]}}",
        "plugin \"ImageLocality\" does not extend FilterPlugin plugin",
    );
    check(
        "{filter: {enabled: [{name: NodeName}, {name: NodeName}]}}",
        "plugin \"NodeName\" already registered as \"FilterPlugin\"",
    );
    check(
        "{bind: {disabled: [{name: '*'}]}}",
        "at least one bind plugin is needed for profile with scheduler name \"default-scheduler\"",
    );
    check(
        "{queueSort: {disabled: [{name: PrioritySort}]}}",
        "only one queue sort plugin required for profile with scheduler name \"default-scheduler\", but got 0",
    );
}

#[test]
fn a_program_can_add_rules() {
    let text = "
profiles:
- schedulerName: mine
  plugins:
    multiPoint: {enabled: [{name: Age, weight: 4}]}
  pluginConfig:
  - name: Age
    args:
      address: https://age.example:8443
      tlsConfig: {caFile: /etc/age/ca.crt, certFile: /etc/age/tls.crt, keyFile: /etc/age/tls.key, serverName: age}
      timeout: 250ms
      ignorable: true
      sendNodes: true
";
    let added = parse(text).profiles.remove(0).added;
    let expected = AddedPlugin {
        name: "Age".into(),
        address: "https://age.example:8443".into(),
        tls: Some(Tls {
            ca: "/etc/age/ca.crt".into(),
            client: Some(("/etc/age/tls.crt".into(), "/etc/age/tls.key".into())),
            server_name: Some("age".into()),
        }),
        deadline: Duration::from_millis(250),
        is_ignorable: true,
        wants_nodes: true,
        filters: true,
        score_weight: Some(4),
    };
    assert_eq!(added, [expected]);
    let check = |args: &str, expected: &str| {
        refused(
            &format!(
                "profiles: [{{plugins: {{filter: {{enabled: [{{name: Age}}]}}}}, pluginConfig: [{{name: Age, args: {args}}}]}}]"
            ),
            expected,
        );
    };
    check("{}", "profiles[0].pluginConfig[0].args.address: Required value");
    check(
        "{address: age.example}",
        "profiles[0].pluginConfig[0].args.address: Invalid value: \"age.example\": must be http://HOST:PORT",
    );
    check(
        "{address: 'http://age:1', timeout: 1h}",
        "profiles[0].pluginConfig[0].args.timeout: Invalid value: \"1h\": must be a duration such as 500ms, more than \
         zero and at most 30s",
    );
    check(
        "{address: 'http://age:1', tmeout: 1s}",
        "decoding args for plugin Age: strict decoding error: unknown field \"tmeout\"",
    );
}

#[test]
fn durations_are_read_as_go_writes_them() {
    let check = |text: &str, milliseconds: Option<u64>| {
        assert_eq!(
            document::duration(text),
            milliseconds.map(Duration::from_millis),
            "{text}"
        );
    };
    check("1m30s", Some(90_000));
    check("1.5s", Some(1_500));
    check("100ms", Some(100));
    check("0", Some(0));
    check("-1s", None);
    check("5", None);
    check("", None);
}
