//! A Deployment through all three forms.

use gantry_proto::{apps, json};
use prost::Message;
use serde_json::json;

#[test]
fn a_deployment_keeps_its_json_through_the_wire() {
    let want = json!({"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","labels":{"a":"b"}},
        "spec":{"replicas":0,"selector":{"matchLabels":{"app":"web"}},"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},
        "template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"x","resources":{"limits":{"cpu":"500m"}},
        "livenessProbe":{"httpGet":{"path":"/healthz","port":"http"},"periodSeconds":10}}],
        "volumes":[{"name":"tmp","emptyDir":{}}]}}},"status":{}});
    let decoded = json::decode::<apps::v1::Deployment>(&serde_json::to_vec(&want).unwrap()).unwrap();
    assert_eq!(decoded.complaints, Vec::<String>::new());
    let again = apps::v1::Deployment::decode(&*decoded.object.encode_to_vec()).unwrap();
    assert_eq!(json::to_value(&again), want);
}

#[test]
fn unknown_and_duplicate_fields_are_named_by_their_paths() {
    let text = br#"{"kind":"Deployment","spec":{"replica":1,"replicas":1,"replicas":2,"template":{"spec":{"containers":[{"imag":"x","livenessProbe":{"pth":1}}]}}}}"#;
    let decoded = json::decode::<apps::v1::Deployment>(text).unwrap();
    assert_eq!(decoded.object.spec().replicas, Some(2));
    assert_eq!(
        decoded.complaints,
        [
            "unknown field \"spec.replica\"",
            "unknown field \"spec.template.spec.containers[0].imag\"",
            "unknown field \"spec.template.spec.containers[0].livenessProbe.pth\"",
            "duplicate field \"spec.replicas\"",
        ]
    );
    let error = json::decode::<apps::v1::Deployment>(
        br#"{"spec":{"template":{"spec":{"containers":[{"ports":[{"containerPort":"80"}]}]}}}}"#,
    );
    assert_eq!(
        error.err().unwrap().to_string(),
        "spec.template.spec.containers[0].ports[0].containerPort: invalid type: string \"80\", expected i32"
    );
}
