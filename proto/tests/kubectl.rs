//! The real kubectl, offline, as an oracle: which zero values it prints, how it writes quantities, what its
//! strategic merge makes.

use gantry_proto::meta::v1::Quantity;
use gantry_proto::{KindInfo, patch};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs kubectl with `input` as the file `-`, and reads the JSON that it prints.
fn kubectl(arguments: &[&str], input: &Value) -> Result<Value, String> {
    let mut command = Command::new("kubectl");
    command
        .args(arguments)
        .args(["-o", "json"])
        .env("KUBECONFIG", "/dev/null");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("kubectl does not start ({error}): install version 1.32 or later, https://kubernetes.io/docs/tasks/tools/")
    });
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// kubectl 1.32 prints the creation time that an object does not have yet as null; the API of 1.36, which ours
/// is, leaves it out (Go: omitzero).
fn without_creation_timestamp(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .into_iter()
                .filter(|(key, value)| key != "creationTimestamp" || !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key, without_creation_timestamp(value)))
                    .collect(),
            )
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_creation_timestamp).collect()),
        scalar => scalar,
    }
}

#[test]
fn zero_values_are_printed_where_kubectl_prints_them() {
    fn check(arguments: &[&str], input: Value) {
        let theirs = without_creation_timestamp(kubectl(arguments, &input).unwrap());
        let text = |field: &str| theirs[field].as_str().unwrap_or_default().to_string();
        let kind = KindInfo::of_object(&text("apiVersion"), &text("kind")).expect("a kind of ours");
        let (encoded, complaints) = (kind.encode_json)(&theirs).unwrap();
        assert_eq!(complaints, Vec::<String>::new(), "{arguments:?}");
        assert_eq!((kind.decode_json)(&encoded).unwrap(), theirs, "{arguments:?}");
    }
    let create = |arguments: &str| {
        let mut all = vec!["create", "--dry-run=client"];
        all.extend(arguments.split(' '));
        check(&all, Value::Null);
    };
    create("deployment web --image=nginx --replicas=2 --port=80");
    create("deployment web --image=nginx");
    create("service clusterip web --tcp=80:8080");
    create("service clusterip web --clusterip=None");
    create("service nodeport web --tcp=80:http --node-port=30080");
    create("service externalname web --external-name=example.com");
    create("configmap c --from-literal=a=b");
    create("secret generic s --from-literal=a=b");
    create("serviceaccount s");
    create("namespace n");

    let containers = json!([{
        "name": "c", "image": "a", "livenessProbe": {"httpGet": {"port": 80}}, "lifecycle": {"preStop": {"sleep": {"seconds": 0}}},
        "env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
        "ports": [{"containerPort": 1}], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }]);
    let volumes = json!([
        {"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {}}, {"name": "c", "projected": {}}, {"name": "d", "hostPath": {}},
        {"name": "e", "nfs": {}}, {"name": "f", "scaleIO": {}}, {"name": "g", "csi": {}}, {"name": "h", "iscsi": {}},
        {"name": "i", "downwardAPI": {"items": [{}]}}, {"name": "j", "ephemeral": {"volumeClaimTemplate": {}}},
    ]);
    let spec = json!({"containers": containers, "volumes": volumes, "affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{}], "preferredDuringSchedulingIgnoredDuringExecution": [{}]},
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}, "preferredDuringSchedulingIgnoredDuringExecution": [{}]}},
        "topologySpreadConstraints": [{"topologyKey": "a"}], "tolerations": [{}], "readinessGates": [{}], "hostAliases": [{"ip": "1"}], "dnsConfig": {"options": [{}]},
        "securityContext": {"seccompProfile": {}, "sysctls": [{}]}, "imagePullSecrets": [{"name": "a"}], "os": {}, "schedulingGates": [{"name": "a"}]});
    let template = json!({"spec": spec});
    let set_image = ["set", "image", "--local", "-f", "-", "c=b"];
    check(
        &set_image,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}),
    );
    let status = json!({"conditions": [{"type": "t"}], "containerStatuses": [{}], "hostIPs": [{}], "podIPs": [{"ip": "1"}]});
    check(
        &set_image,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "ownerReferences": [{"uid": "u"}]},
            "spec": {"containers": [{"name": "c"}]}, "status": status}),
    );
    for kind in ["Deployment", "ReplicaSet"] {
        check(
            &set_image,
            json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x"}, "spec": {"template": template},
                "status": {"conditions": [{"type": "t"}]}}),
        );
    }
    check(
        &["set", "selector", "--local", "-f", "-", "a=b"],
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"port": 1}]},
            "status": {"conditions": [{"type": "t"}], "loadBalancer": {"ingress": [{"ports": [{}]}]}}}),
    );
}

#[test]
fn quantities_are_written_as_kubectl_writes_them() {
    let texts = [
        "1",
        "0.5",
        "1.5",
        "100m",
        "1000m",
        "1500m",
        "1024Mi",
        "1Gi",
        "1.5Gi",
        "0.1Gi",
        "1000Ki",
        "1025Ki",
        "1e3",
        "1E3",
        "12e6",
        "1.5e3",
        "0.001",
        "1n",
        "0.1n",
        "100k",
        "1000k",
        "1000000",
        "123456789012345678901",
        "9Ei",
        "1.",
        "0",
        "0Gi",
        "00",
        "+1",
        "01",
        "1.500",
        "0.500",
        "3Pi",
        "8Ki",
        "1.2345678912",
        "100E",
        "2048",
        "2048Ki",
        "1.0Gi",
        "1.0",
        "10.0",
        "5e-3",
        "1e-9",
        "1e-10",
    ];
    let limits: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| format!("example.com/r{i}={text}"))
        .collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"name": "c"}]}});
    let limits = format!("--limits={}", limits.join(","));
    let printed = kubectl(&["set", "resources", "--local", "-f", "-", &limits], &pod).unwrap();
    let printed = &printed["spec"]["containers"][0]["resources"]["limits"];
    for (i, text) in texts.iter().enumerate() {
        let ours = Quantity::parse(text).unwrap();
        assert_eq!(printed[format!("example.com/r{i}")], ours.string, "{text}");
    }
}

#[test]
fn a_strategic_merge_gives_what_kubectl_gives() {
    fn check(original: Value, patch: Value) {
        let arguments = [
            "patch",
            "--local",
            "-f",
            "-",
            "--type=strategic",
            "-p",
            &patch.to_string(),
        ];
        let theirs = kubectl(&arguments, &original);
        let text = |field: &str| original[field].as_str().unwrap_or_default();
        let kind = KindInfo::of_object(text("apiVersion"), text("kind")).unwrap();
        let ours = patch::strategic_merge(kind.message, original.clone(), patch.clone());
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => assert_eq!(ours, theirs, "{patch}"),
            (Err(theirs), Err(ours)) => assert!(
                theirs.contains(&ours.to_string()),
                "{patch}: {ours}; kubectl: {theirs}"
            ),
            (theirs, ours) => panic!("{patch}: {ours:?}; kubectl: {theirs:?}"),
        }
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "1", "b": "2"}, "finalizers": ["a", "b", "c"]},
        "spec": {"containers": [
            {"name": "a", "image": "1", "args": ["x", "y"], "ports": [{"containerPort": 80}, {"containerPort": 81, "name": "p"}],
             "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 3}},
            {"name": "b", "image": "2", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "c", "image": "3"}],
         "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [{"key": "a"}], "nodeSelector": {"a": "b"}}});
    for patch in [
        json!({"spec": {"containers": [{"name": "b", "image": "9"}, {"name": "d", "image": "4"}]}}),
        json!({"spec": {"containers": [{"name": "d"}, {"name": "c", "$patch": "delete"}, {"name": "a", "args": null}]}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "d"}, {"name": "a"}], "containers": [{"name": "d"}, {"name": "b", "$patch": "delete"}]}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}),
        json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}], "livenessProbe": {"tcpSocket": {"port": 1}, "httpGet": null}}]}}),
        json!({"spec": {"containers": [{"name": "a", "args": ["z"]}, {"$patch": "replace"}]}}),
        json!({"spec": {"containers": [{"name": "b", "env": [{"name": "B", "value": null, "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}}),
        json!({"spec": {"tolerations": [{"key": "b"}], "nodeSelector": {"$patch": "replace", "c": "d"}, "hostNetwork": true}}),
        json!({"metadata": {"labels": {"a": null, "c": "3"}, "finalizers": ["d", "a"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b", "z"], "$setElementOrder/finalizers": ["c", "d", "a"], "finalizers": ["d"]}}),
        json!({"metadata": {"labels": null}, "spec": {"nodeSelector": {"$patch": "delete"}}}),
        json!({"spec": {"containers": [{"image": "no name"}]}}),
        json!({"spec": {"containers": [{"name": "a", "$patch": "unknown"}]}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {"path": "/"}}]}}),
    ] {
        check(pod.clone(), patch);
    }
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"},
        "spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}], "selector": {"a": "b"}}});
    check(
        service.clone(),
        json!({"spec": {"ports": [{"port": 81, "targetPort": 8081}, {"port": 82}]}}),
    );
    check(
        service,
        json!({"spec": {"selector": {"c": "d"}, "ports": [{"port": 80, "$patch": "delete"}]}}),
    );
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
        "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    check(
        deployment.clone(),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
    );
    check(
        deployment,
        json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "25%"}}}}),
    );
}
