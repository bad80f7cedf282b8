//! Two independent oracles for every kind: `k8s-pb` for the wire form and `k8s-openapi` for the JSON form, fed
//! with values generated from our descriptors.

mod generate;

use gantry_proto::json::Fields;
use gantry_proto::kinds::KINDS;
use gantry_proto::{
    Kind, apps, autoscaling, coordination, core, discovery, json as form, networking, policy, scheduling,
    schema,
};
use generate::Generator;
use prost::Message;
use serde_json::{Value, json};

/// How many values are tried of each kind. Each is made from its own number, which a failure prints.
const SEEDS: u64 = 100;

/// Fields of Kubernetes 1.36 that k8s-pb, made from an earlier version, does not have. The JSON oracle has them.
const NEWER_THAN_K8S_PB: &[&str] = &[
    "gantry.core.v1.PodSpec.scheduling_group",
    "gantry.core.v1.PodStatus.node_allocatable_resource_claim_statuses",
    "gantry.core.v1.ResourceHealth.message",
    "gantry.core.v1.VolumeMountStatus.volume_status",
];

/// A kind beside the types that the oracles have for it.
macro_rules! with_every_kind {
    ($check:ident) => {
        $check!(core::v1::Namespace, core::v1::Namespace);
        $check!(core::v1::Node, core::v1::Node);
        $check!(core::v1::Pod, core::v1::Pod);
        $check!(core::v1::Binding, core::v1::Binding);
        $check!(core::v1::Service, core::v1::Service);
        $check!(discovery::v1::EndpointSlice, discovery::v1::EndpointSlice);
        $check!(core::v1::Endpoints, core::v1::Endpoints);
        $check!(core::v1::PodTemplate, core::v1::PodTemplate);
        $check!(core::v1::ConfigMap, core::v1::ConfigMap);
        $check!(core::v1::Secret, core::v1::Secret);
        $check!(core::v1::ServiceAccount, core::v1::ServiceAccount);
        $check!(core::v1::Event, core::v1::Event);
        $check!(coordination::v1::Lease, coordination::v1::Lease);
        $check!(networking::v1::IpAddress, networking::v1::IPAddress);
        $check!(networking::v1::ServiceCidr, networking::v1::ServiceCIDR);
        $check!(policy::v1::Eviction, policy::v1::Eviction);
        $check!(
            policy::v1::PodDisruptionBudget,
            policy::v1::PodDisruptionBudget
        );
        $check!(scheduling::v1::PriorityClass, scheduling::v1::PriorityClass);
        $check!(apps::v1::ControllerRevision, apps::v1::ControllerRevision);
        $check!(apps::v1::Deployment, apps::v1::Deployment);
        $check!(apps::v1::ReplicaSet, apps::v1::ReplicaSet);
    };
}

#[test]
fn every_kind_has_its_oracles() {
    let mut checked: Vec<&str> = Vec::new();
    macro_rules! name {
        ($ours:path, $theirs:path) => {
            checked.push(<$ours as Kind>::KIND);
        };
    }
    with_every_kind!(name);
    assert_eq!(checked, KINDS.iter().map(|info| info.kind).collect::<Vec<_>>());
}

#[test]
fn the_wire_form_of_every_kind_is_kubernetes_own() {
    macro_rules! check {
        ($ours:path, $($theirs:tt)*) => {
            for (seed, object) in objects::<$ours>(NEWER_THAN_K8S_PB) {
                let theirs = k8s_pb::api::$($theirs)*::decode(&*object.encode_to_vec()).unwrap();
                let again = <$ours>::decode(&*theirs.encode_to_vec()).unwrap();
                assert_same(<$ours as Kind>::KIND, seed, &form::to_value(&object), &form::to_value(&again));
                assert!(again == object, "{} of {seed} differs in what JSON does not show", <$ours as Kind>::KIND);
            }
        };
    }
    with_every_kind!(check);
}

#[test]
fn the_json_form_of_every_kind_is_kubernetes_own() {
    macro_rules! check {
        ($ours:path, $($theirs:tt)*) => {
            for (seed, object) in objects::<$ours>(&[]) {
                let kind = <$ours as Kind>::KIND;
                let ours = form::to_value(&object);
                let theirs: k8s_openapi::api::$($theirs)* = serde_json::from_value(ours.clone())
                    .unwrap_or_else(|error| panic!("{kind} of {seed}: {error}\n{ours:#}"));
                let theirs = serde_json::to_value(&theirs).unwrap();
                let plain = without_nulls(&ours);
                assert_same(kind, seed, &plain, &without_required_zeros(&theirs, &plain));
                let decoded = form::decode_value::<$ours>(&theirs).unwrap_or_else(|error| panic!("{kind} of {seed}: {error}"));
                assert_eq!(decoded.complaints, Vec::<String>::new(), "{kind} of {seed}");
                let again = without_nulls(&form::to_value(&decoded.object));
                assert_same(kind, seed, &plain, &without_required_zeros(&again, &plain));
            }
        };
    }
    with_every_kind!(check);
}

#[test]
fn the_json_form_of_every_kind_reads_back_as_the_same_object() {
    macro_rules! check {
        ($ours:path, $($theirs:tt)*) => {
            for (seed, object) in objects::<$ours>(&[]) {
                let text = form::to_vec(&object);
                let decoded = form::decode::<$ours>(&text).unwrap_or_else(|error| panic!("{seed}: {error}"));
                assert_eq!(decoded.complaints, Vec::<String>::new());
                assert_same(
                    <$ours as Kind>::KIND,
                    seed,
                    &form::to_value(&object),
                    &form::to_value(&decoded.object),
                );
            }
        };
    }
    with_every_kind!(check);
}

/// Objects that have no kind's entry, because they are only ever shown. Each with its apiVersion, and its type here and there.
macro_rules! with_every_other_object {
    ($check:ident) => {
        $check!(
            "autoscaling/v1",
            "Scale",
            autoscaling::v1::Scale,
            k8s_pb::api::autoscaling::v1::Scale,
            k8s_openapi::api::autoscaling::v1::Scale
        );
    };
}

#[test]
fn the_wire_form_of_every_other_object_is_kubernetes_own() {
    macro_rules! check {
        ($version:literal, $kind:literal, $ours:path, $pb:path, $openapi:path) => {
            for (seed, object) in objects::<$ours>(&[]) {
                let theirs = <$pb>::decode(&*object.encode_to_vec()).unwrap();
                let again = <$ours>::decode(&*theirs.encode_to_vec()).unwrap();
                assert!(
                    again == object,
                    "{} of {seed}: {object:?} and {again:?}",
                    $kind
                );
            }
        };
    }
    with_every_other_object!(check);
}

#[test]
fn the_json_form_of_every_other_object_is_kubernetes_own() {
    macro_rules! check {
        ($version:literal, $kind:literal, $ours:path, $pb:path, $openapi:path) => {
            for (seed, object) in objects::<$ours>(&[]) {
                let mut ours = serde_json::to_value(&object).unwrap();
                ours["apiVersion"] = json!($version);
                ours["kind"] = json!($kind);
                let theirs: $openapi = serde_json::from_value(ours.clone())
                    .unwrap_or_else(|error| panic!("{} of {seed}: {error}\n{ours:#}", $kind));
                let theirs = serde_json::to_value(&theirs).unwrap();
                let plain = without_nulls(&ours);
                assert_same(
                    $kind,
                    seed,
                    &plain,
                    &without_required_zeros(&theirs, &plain),
                );
                let again: $ours = serde_json::from_value(serde_json::to_value(&object).unwrap()).unwrap();
                let (text, again) = (form_of(&object), form_of(&again));
                assert_same($kind, seed, &text, &again);
            }
        };
    }
    with_every_other_object!(check);
}

fn form_of<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap()
}

/// The first has every field set, but for those that are left out.
fn objects<K: Message + Fields>(left_out: &'static [&'static str]) -> impl Iterator<Item = (u64, K)> {
    let message = schema::pool()
        .get_message_by_name(K::MESSAGE)
        .expect("a kind's message");
    (0..SEEDS).map(move |seed| {
        let mut generator = Generator::new(seed, seed == 0, left_out);
        let object = generator.message(&message);
        (
            seed,
            K::decode(&*object.encode_to_vec()).expect("its own descriptor's encoding"),
        )
    })
}

/// Go prints a time that is not set, and an unset list that it always prints, as null; k8s-openapi leaves them out.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key.clone(), without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        scalar => scalar.clone(),
    }
}

/// A required field that is unset prints as "", [] or {} in k8s-openapi, where Go's tag says whether it prints.
fn without_required_zeros(theirs: &Value, ours: &Value) -> Value {
    fn is_zero(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.values().all(is_zero),
            value => [json!(""), json!([])].contains(value),
        }
    }
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let kept = theirs
                .iter()
                .filter(|(key, value)| ours.contains_key(*key) || !is_zero(value));
            let compared = kept.map(|(key, value)| {
                (
                    key.clone(),
                    ours.get(key)
                        .map_or(value.clone(), |ours| without_required_zeros(value, ours)),
                )
            });
            Value::Object(compared.collect())
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => Value::Array(
            theirs
                .iter()
                .zip(ours)
                .map(|(theirs, ours)| without_required_zeros(theirs, ours))
                .collect(),
        ),
        _ => theirs.clone(),
    }
}

fn assert_same(kind: &str, seed: u64, left: &Value, right: &Value) {
    let mut differences = Vec::new();
    differ(String::new(), left, right, &mut differences);
    assert!(
        differences.is_empty(),
        "{kind} of {seed}:\n{}",
        differences.join("\n")
    );
}

fn differ(path: String, left: &Value, right: &Value, differences: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left
                .keys()
                .chain(right.keys().filter(|key| !left.contains_key(*key)))
            {
                let path = format!("{path}.{key}");
                match (left.get(key), right.get(key)) {
                    (Some(left), Some(right)) => differ(path, left, right, differences),
                    (left, right) => differences.push(format!("{path}: {left:?} and {right:?}")),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (i, (left, right)) in left.iter().zip(right).enumerate() {
                differ(format!("{path}[{i}]"), left, right, differences);
            }
        }
        (left, right) if left != right => differences.push(format!("{path}: {left} and {right}")),
        _ => {}
    }
}
