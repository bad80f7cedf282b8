//! Deployments (pkg/apis/apps).

use super::field::{Errors, IMMUTABLE, Json, Path, not_negative, quoted};
use super::pod_spec::optional_not_negative;
use super::{Rules, Target, metadata, names, pod_template, pod_warnings, selector, semantic};
use gantry_proto::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment,
};
use gantry_proto::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use gantry_proto::meta::v1::{IntOrString, LabelSelector, ObjectMeta, StatusCause};

const ROLLING_UPDATE: &str = "RollingUpdate";
const RECREATE: &str = "Recreate";

pub struct Deployments;

impl Rules for Deployments {
    type Object = Deployment;

    fn set_defaults(&self, deployment: &mut Deployment) {
        let spec = deployment.spec_mut();
        spec.replicas.get_or_insert(1);
        let strategy = spec.strategy_mut();
        if strategy.r#type.is_empty() {
            strategy.r#type = ROLLING_UPDATE.into();
        }
        if strategy.r#type == ROLLING_UPDATE {
            let rolling = strategy.rolling_update_mut();
            rolling.max_unavailable.get_or_insert_with(|| "25%".into());
            rolling.max_surge.get_or_insert_with(|| "25%".into());
        }
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        pod_template::set_defaults(spec.template_mut());
    }

    fn prepare_for_create(&self, deployment: &mut Deployment) {
        metadata::clear_for_create(deployment.metadata_mut(), 1);
        deployment.status = None;
    }

    fn prepare_for_update(&self, new: &mut Deployment, old: &Deployment, target: Target) {
        if target == Target::Status {
            metadata::keep_for_status(new.metadata_mut(), old.metadata());
            new.metadata_mut().labels.clone_from(&old.metadata().labels);
            new.spec.clone_from(&old.spec);
        } else {
            metadata::keep_for_update(new.metadata_mut(), old.metadata());
            new.status.clone_from(&old.status);
        }
    }

    /// The annotations count too: the controller copies them to ReplicaSets.
    fn generation_changes(&self, new: &Deployment, old: &Deployment) -> bool {
        new.metadata().annotations != old.metadata().annotations || !semantic::equal(new.spec(), old.spec())
    }

    fn validate(&self, deployment: &Deployment) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_strictly(deployment.metadata(), true, names::dns_subdomain, &mut errors);
        validate_spec(deployment.spec(), &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &Deployment, old: &Deployment, target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if target == Target::Status {
            validate_status(new.status(), old.status(), &mut errors);
        } else {
            validate_spec(new.spec(), &mut errors);
            validate_same_selector(&new.spec().selector, &old.spec().selector, &mut errors);
        }
        errors.into_causes()
    }

    fn warnings(&self, new: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        if old.is_some_and(|old| semantic::equal(new.spec(), old.spec())) {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        if old.is_none() {
            warnings.extend(pod_warnings::name_is_no_label(
                new.metadata(),
                "used in Pod names and hostnames",
            ));
        }
        let template = new.spec().template();
        pod_warnings::collect(
            template.spec(),
            template.metadata(),
            &Path::new("spec.template"),
            &mut warnings,
        );
        warnings
    }

    fn scale(&self, deployment: &Deployment) -> Option<Scale> {
        let (spec, status) = (deployment.spec(), deployment.status());
        Some(scale(
            deployment.metadata(),
            spec.replicas,
            status.replicas,
            spec.selector(),
        ))
    }

    fn set_scale(&self, deployment: &mut Deployment, scale: &Scale) {
        deployment.spec_mut().replicas = Some(scale.spec().replicas);
    }
}

/// The scale of something that makes pods.
pub(super) fn scale(
    metadata: &ObjectMeta,
    wanted: Option<i32>,
    current: i32,
    selected: &LabelSelector,
) -> Scale {
    Scale {
        metadata: Some(ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            creation_timestamp: metadata.creation_timestamp,
            ..ObjectMeta::default()
        }),
        spec: Some(ScaleSpec {
            replicas: wanted.unwrap_or(1),
        }),
        status: Some(ScaleStatus {
            replicas: current,
            selector: selector::text(selected),
        }),
    }
}

pub(super) fn validate_same_selector(
    new: &Option<LabelSelector>,
    old: &Option<LabelSelector>,
    errors: &mut Errors,
) {
    if !semantic::equal(new, old) {
        errors.invalid(&Path::new("spec.selector"), Json::of(new), IMMUTABLE);
    }
}

fn validate_spec(spec: &DeploymentSpec, errors: &mut Errors) {
    let path = Path::new("spec");
    optional_not_negative(spec.replicas, &path.child("replicas"), errors);
    let selector = spec.selector.as_ref();
    pod_template::validate_selector(selector, &path.child("selector"), errors);
    pod_template::validate(selector, spec.template(), &path, errors);
    validate_strategy(spec.strategy(), &path.child("strategy"), errors);
    not_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
    optional_not_negative(
        spec.revision_history_limit,
        &path.child("revisionHistoryLimit"),
        errors,
    );
    if let Some(seconds) = spec.progress_deadline_seconds {
        let path = path.child("progressDeadlineSeconds");
        not_negative(seconds, &path, errors);
        if seconds <= spec.min_ready_seconds {
            errors.invalid(&path, seconds, "must be greater than minReadySeconds");
        }
    }
}

fn validate_strategy(strategy: &DeploymentStrategy, path: &Path, errors: &mut Errors) {
    let rolling = path.child("rollingUpdate");
    match (strategy.r#type.as_str(), &strategy.rolling_update) {
        (RECREATE, None) => {}
        (RECREATE, Some(_)) => {
            errors.forbidden(
                &rolling,
                "may not be specified when strategy `type` is 'Recreate'",
            );
        }
        (ROLLING_UPDATE, None) => errors.required(&rolling, "this should be defaulted and never be nil"),
        (ROLLING_UPDATE, Some(update)) => validate_rolling_update(update, &rolling, errors),
        (other, update) => {
            // The names are those of Go's internal type.
            let update = update.as_ref().map_or("null".to_string(), |update| {
                let json = |value: &IntOrString| serde_json::to_string(value).unwrap_or_default();
                let (unavailable, surge) = (json(update.max_unavailable()), json(update.max_surge()));
                format!("{{\"MaxUnavailable\":{unavailable},\"MaxSurge\":{surge}}}")
            });
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{update}}}", quoted(other));
            errors.not_supported(path, Json::text(shown), &[RECREATE, ROLLING_UPDATE]);
        }
    }
}

fn validate_rolling_update(update: &RollingUpdateDeployment, path: &Path, errors: &mut Errors) {
    let (unavailable, surge) = (update.max_unavailable(), update.max_surge());
    let unavailable_path = path.child("maxUnavailable");
    for (value, path) in [(unavailable, &unavailable_path), (surge, &path.child("maxSurge"))] {
        validate_int_or_percent(value, path, errors);
    }
    let number = |value: &IntOrString| value.as_str()?.parse().ok();
    let amount = |value: &IntOrString| {
        let counted = value.as_int().or_else(|| percent(value));
        counted.or_else(|| number(value)).unwrap_or(0)
    };
    if amount(unavailable) == 0 && amount(surge) == 0 {
        errors.invalid(
            &unavailable_path,
            Json::of(unavailable),
            "may not be 0 when `maxSurge` is 0",
        );
    }
    validate_at_most_all(unavailable, &unavailable_path, errors);
}

pub(super) fn validate_int_or_percent(value: &IntOrString, path: &Path, errors: &mut Errors) {
    match value.as_str() {
        Some(text) => errors.invalid_each(path, Json::of(value), names::percent(text)),
        None => not_negative(value.int_val, path, errors),
    }
}

pub(super) fn validate_at_most_all(value: &IntOrString, path: &Path, errors: &mut Errors) {
    if percent(value).is_some_and(|percent| percent > 100) {
        errors.invalid(path, Json::of(value), "must not be greater than 100%");
    }
}

fn percent(value: &IntOrString) -> Option<i32> {
    let text = value.as_str().filter(|text| names::percent(text).is_empty())?;
    // Digits that do not fit are certainly more than a hundred.
    Some(text.trim_end_matches('%').parse().unwrap_or(i32::MAX))
}

fn validate_status(status: &DeploymentStatus, old: &DeploymentStatus, errors: &mut Errors) {
    let path = Path::new("status");
    not_negative(
        status.observed_generation,
        &path.child("observedGeneration"),
        errors,
    );
    let counts = [
        ("replicas", status.replicas),
        ("updatedReplicas", status.updated_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
        ("unavailableReplicas", status.unavailable_replicas),
    ];
    for (field, count) in counts {
        not_negative(count, &path.child(field), errors);
    }
    optional_not_negative(
        status.terminating_replicas,
        &path.child("terminatingReplicas"),
        errors,
    );
    optional_not_negative(status.collision_count, &path.child("collisionCount"), errors);
    for (field, count) in &counts[1..4] {
        if *count > status.replicas {
            errors.invalid(
                &path.child(field),
                *count,
                "cannot be greater than status.replicas",
            );
        }
    }
    if status.available_replicas > status.ready_replicas {
        let detail = "cannot be greater than readyReplicas";
        errors.invalid(
            &path.child("availableReplicas"),
            status.available_replicas,
            detail,
        );
    }
    let collisions = status.collision_count.unwrap_or(0);
    if old
        .collision_count
        .is_some_and(|old| status.collision_count.is_none() || collisions < old)
    {
        errors.invalid(&path.child("collisionCount"), collisions, "cannot be decremented");
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::{Value, json};

    fn minimal() -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]},
                },
            },
        })
    }

    fn deployment(value: Value) -> Deployment {
        let mut deployment: Deployment = serde_json::from_value(value).expect("deployment");
        Deployments.set_defaults(&mut deployment);
        Deployments.prepare_for_create(&mut deployment);
        deployment
    }

    /// Checks the minimal Deployment with `value` at a pointer such as `/spec/replicas`.
    fn check(pointer: &str, value: Value, expected: &[&str]) {
        let mut object = minimal();
        let (parent, field) = pointer.rsplit_once('/').expect("pointer");
        object.pointer_mut(parent).expect("parent")[field] = value;
        assert_eq!(lines(Deployments.validate(&deployment(object))), expected);
    }

    #[test]
    fn a_minimal_deployment_is_completed_as_a_cluster_shows_it() {
        let deployment = deployment(minimal());
        assert_eq!(
            gantry_proto::json::to_value(&deployment),
            json!({
                "kind": "Deployment",
                "apiVersion": "apps/v1",
                "metadata": {"name": "web", "namespace": "default", "generation": 1},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": {
                        "metadata": {"labels": {"app": "web"}},
                        "spec": {
                            "containers": [{
                                "name": "web",
                                "image": "nginx:1.27",
                                "resources": {},
                                "terminationMessagePath": "/dev/termination-log",
                                "terminationMessagePolicy": "File",
                                "imagePullPolicy": "IfNotPresent",
                            }],
                            "restartPolicy": "Always",
                            "terminationGracePeriodSeconds": 30,
                            "dnsPolicy": "ClusterFirst",
                            "securityContext": {},
                            "schedulerName": "default-scheduler",
                        },
                    },
                    "strategy": {
                        "type": "RollingUpdate",
                        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
                    },
                    "revisionHistoryLimit": 10,
                    "progressDeadlineSeconds": 600,
                },
                "status": {},
            })
        );
        assert!(Deployments.validate(&deployment).is_empty());
        assert!(Deployments.warnings(&deployment, None).is_empty());
    }

    #[test]
    fn the_selector_selects_the_template() {
        check(
            "/spec/selector",
            json!({"matchLabels": {"app": "other"}}),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template \
               `labels`",
            ],
        );
        check(
            "/spec/selector",
            Value::Null,
            &[
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template \
                 `labels`",
            ],
        );
        check(
            "/spec/selector",
            json!({}),
            &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        );
        check(
            "/spec/template/metadata",
            json!({}),
            &[
                "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
            ],
        );
    }

    #[test]
    fn a_rolling_update_can_move() {
        check(
            "/spec/strategy",
            json!({"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
            &[],
        );
        check(
            "/spec/strategy",
            json!({"rollingUpdate": {"maxUnavailable": "0%", "maxSurge": 0}}),
            &[
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
            ],
        );
        check(
            "/spec/strategy",
            json!({"rollingUpdate": {"maxUnavailable": "101%", "maxSurge": "x"}}),
            &[
                "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be a numeric \
                 string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ],
        );
        check(
            "/spec/strategy",
            json!({"type": "Recreate", "rollingUpdate": {}}),
            &[
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ],
        );
        check(
            "/spec/strategy",
            json!({"type": "Canary"}),
            &[
                "spec.strategy: Unsupported value: {\"Type\":\"Canary\",\"RollingUpdate\":null}: supported values: \
               \"Recreate\", \"RollingUpdate\"",
            ],
        );
    }

    #[test]
    fn counts_and_deadlines_are_checked() {
        check(
            "/spec/replicas",
            json!(-1),
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        );
        check(
            "/spec/minReadySeconds",
            json!(600),
            &["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        );
        check(
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
        );
        check(
            "/spec/template/spec/containers",
            json!([{"name": "web"}]),
            &["spec.template.spec.containers[0].image: Required value"],
        );
    }

    #[test]
    fn the_selector_never_changes() {
        let old = deployment(minimal());
        let mut new = old.clone();
        new.spec_mut().selector =
            serde_json::from_value(json!({"matchLabels": {"tier": "x"}})).expect("selector");
        new.spec_mut()
            .template_mut()
            .metadata_mut()
            .labels
            .insert("tier".into(), "x".into());
        assert_eq!(
            lines(Deployments.validate_update(&new, &old, Target::Main)),
            ["spec.selector: Invalid value: {\"matchLabels\":{\"tier\":\"x\"}}: field is immutable"]
        );
    }

    #[test]
    fn each_endpoint_writes_its_own_part() {
        let old = deployment(minimal());
        let mut new = old.clone();
        new.spec_mut().replicas = Some(5);
        new.status_mut().replicas = 3;
        new.metadata_mut().labels.insert("a".into(), "b".into());
        let mut main = new.clone();
        Deployments.prepare_for_update(&mut main, &old, Target::Main);
        assert_eq!((main.spec().replicas, main.status().replicas), (Some(5), 0));
        assert!(Deployments.generation_changes(&main, &old));
        let mut status = new.clone();
        Deployments.prepare_for_update(&mut status, &old, Target::Status);
        assert_eq!((status.spec().replicas, status.status().replicas), (Some(1), 3));
        assert!(status.metadata().labels.is_empty());
        assert!(!Deployments.generation_changes(&status, &old));
    }

    #[test]
    fn status_counts_fit_together() {
        let old = deployment(minimal());
        let mut new = old.clone();
        new.status = Some(DeploymentStatus {
            replicas: 1,
            ready_replicas: 2,
            available_replicas: 1,
            ..Default::default()
        });
        assert_eq!(
            lines(Deployments.validate_update(&new, &old, Target::Status)),
            ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]
        );
    }

    #[test]
    fn the_scale_is_a_view_of_the_replicas() {
        let mut deployment = deployment(minimal());
        deployment.status_mut().replicas = 2;
        let mut scale = Deployments.scale(&deployment).expect("scale");
        assert_eq!(scale.spec().replicas, 1);
        assert_eq!(
            scale.status(),
            &ScaleStatus {
                replicas: 2,
                selector: "app=web".into()
            }
        );
        scale.spec_mut().replicas = 7;
        Deployments.set_scale(&mut deployment, &scale);
        assert_eq!(deployment.spec().replicas, Some(7));
    }
}
