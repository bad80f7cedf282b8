use super::*;
use crate::aligned::Aligned;
use crate::cluster::Object;
use expect_test::{Expect, expect};
use gantry_proto::KindInfo;
use serde_json::{Value, json};
use std::time::Duration;

/// 2026-11-20T12:00:00Z.
const NOW_SECONDS: u64 = 1_795_176_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS)
}

fn object(mut value: Value) -> Object {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let kind = KindInfo::of_object(&text(&value["apiVersion"]), &text(&value["kind"])).unwrap();
    value["metadata"]["creationTimestamp"] = "2026-11-20T11:55:00Z".into();
    if kind.namespaced {
        value["metadata"]["namespace"] = "default".into();
    }
    Object::new(kind, (kind.encode_json)(&value).unwrap().0).unwrap()
}

fn check(values: &[Value], columns: Columns, expected: Expect) {
    let objects: Vec<Object> = values.iter().cloned().map(object).collect();
    let mut rows = vec![headers(objects[0].kind, &columns)];
    rows.extend(objects.iter().map(|object| row(object, &columns, now()).unwrap()));
    let text = Aligned::default().lines(&rows);
    // A row may end in blanks, which the eye and an editor lose.
    let marked: String = text.lines().map(|line| format!("{line}|\n")).collect();
    expected.assert_eq(&marked);
}

const WIDE: Columns = Columns {
    wide: true,
    namespace: false,
    labels: false,
    kind: false,
    label_columns: Vec::new(),
};

fn pod(name: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec,
        "status": status})
}

#[test]
fn pods_are_shown_as_kubectl_shows_them() {
    let one = json!({"containers": [{"name": "web"}], "nodeName": "n1"});
    let running = json!({"phase": "Running", "podIPs": [{"ip": "10.244.0.5"}], "containerStatuses": [
        {"name": "web", "ready": true, "restartCount": 2, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-20T11:58:00Z"}}}]});
    let pods = [
        pod("web-1", one, running),
        pod(
            "web-2",
            json!({"containers": [{"name": "a"}]}),
            json!({"phase": "Pending"}),
        ),
    ];
    check(
        &pods,
        WIDE,
        expect![[r#"
        NAME    READY   STATUS    RESTARTS     AGE   IP           NODE     NOMINATED NODE   READINESS GATES|
        web-1   1/1     Running   2 (2m ago)   5m    10.244.0.5   n1       <none>           <none>|
        web-2   0/1     Pending   0            5m    <none>       <none>   <none>           <none>|
    "#]],
    );
    let columns = Columns {
        wide: false,
        namespace: true,
        labels: true,
        kind: true,
        label_columns: vec!["example.com/tier".into(), "app".into()],
    };
    check(
        &pods[1..],
        columns,
        expect![[r#"
        NAMESPACE   NAME        READY   STATUS    RESTARTS   AGE   TIER     APP   LABELS|
        default     pod/web-2   0/1     Pending   0          5m    <none>   web   app=web|
    "#]],
    );
}

#[test]
fn a_pods_status_says_what_matters_most() {
    let check = |spec: Value, status: Value, deleted: bool, expected: &str| {
        let mut value = pod("p", spec, status.clone());
        if deleted {
            value["metadata"]["deletionTimestamp"] = "2026-11-20T11:59:00Z".into();
        }
        let pod = object(value).decode().unwrap();
        let found = pod::status(&pod);
        let shown = format!(
            "{}/{} {} {}",
            found.ready_containers, found.containers, found.reason, found.restarts
        );
        assert_eq!(shown, expected, "{status}");
    };
    let two = || json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let init = || json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
    let sidecar = || json!({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let waiting =
        |reason: &str| json!({"name": "a", "restartCount": 3, "state": {"waiting": {"reason": reason}}});
    let running = || json!({"name": "b", "ready": true, "restartCount": 0, "state": {"running": {}}});
    let ended = |code: i32, reason: &str| json!({"name": "a", "state": {"terminated": {"exitCode": code, "reason": reason}}});
    let containers =
        |phase: &str, statuses: Vec<Value>| json!({"phase": phase, "containerStatuses": statuses});
    check(
        two(),
        containers("Running", vec![waiting("CrashLoopBackOff"), running()]),
        false,
        "1/2 CrashLoopBackOff 3",
    );
    check(
        two(),
        containers("Pending", vec![waiting("ImagePullBackOff")]),
        false,
        "0/2 ImagePullBackOff 3",
    );
    check(
        two(),
        containers("Succeeded", vec![ended(0, "Completed")]),
        false,
        "0/2 Completed 0",
    );
    check(
        two(),
        containers("Running", vec![ended(0, "Completed"), running()]),
        false,
        "1/2 NotReady 0",
    );
    check(
        two(),
        containers("Failed", vec![ended(1, "Error")]),
        false,
        "0/2 Error 0",
    );
    check(
        two(),
        containers("Failed", vec![ended(3, "")]),
        false,
        "0/2 ExitCode:3 0",
    );
    let mut ready = containers("Running", vec![ended(0, "Completed"), running()]);
    ready["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    check(two(), ready, false, "1/2 Running 0");
    check(
        two(),
        containers("Running", vec![running(), running()]),
        true,
        "2/2 Terminating 0",
    );
    check(
        two(),
        containers("Succeeded", vec![ended(0, "Completed")]),
        true,
        "0/2 Completed 0",
    );
    check(
        two(),
        json!({"phase": "Failed", "reason": "Evicted"}),
        false,
        "0/2 Evicted 0",
    );
    check(
        two(),
        json!({"phase": "Running", "reason": "NodeLost"}),
        true,
        "0/2 Unknown 0",
    );
    let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    check(
        two(),
        json!({"phase": "Pending", "conditions": gated}),
        false,
        "0/2 SchedulingGated 0",
    );
    let inits = |statuses: Vec<Value>| json!({"phase": "Pending", "initContainerStatuses": statuses});
    let init_done = || json!({"name": "i", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}});
    let init_running = || json!({"name": "j", "restartCount": 1, "state": {"running": {}}});
    check(
        init(),
        inits(vec![init_done(), init_running()]),
        false,
        "0/1 Init:1/2 1",
    );
    check(
        init(),
        inits(vec![waiting("ErrImagePull")]),
        false,
        "0/1 Init:ErrImagePull 3",
    );
    check(
        init(),
        inits(vec![waiting("PodInitializing")]),
        false,
        "0/1 Init:0/2 3",
    );
    check(init(), inits(vec![ended(1, "Error")]), false, "0/1 Init:Error 0");
    check(init(), inits(vec![ended(2, "")]), false, "0/1 Init:ExitCode:2 0");
    let started =
        json!({"name": "s", "ready": true, "started": true, "restartCount": 2, "state": {"running": {}}});
    let mut with_sidecar = containers("Running", vec![running()]);
    with_sidecar["initContainerStatuses"] = json!([started]);
    check(sidecar(), with_sidecar, false, "2/2 Running 2");
}

#[test]
fn workloads_are_shown_as_kubectl_shows_them() {
    let template = json!({"spec": {"containers": [{"name": "web", "image": "web:1"}, {"name": "log", "image": "log:2"}]}});
    let selector = json!({"matchLabels": {"app": "web"}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": selector, "template": template},
        "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}});
    check(
        &[deployment],
        WIDE,
        expect![[r#"
        NAME   READY   UP-TO-DATE   AVAILABLE   AGE   CONTAINERS   IMAGES        SELECTOR|
        web    2/3     3            2           5m    web,log      web:1,log:2   app=web|
    "#]],
    );
    let replica_set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web-5d"},
        "spec": {"replicas": 3, "selector": selector, "template": template},
        "status": {"replicas": 3, "readyReplicas": 2}});
    check(
        &[replica_set],
        Columns::default(),
        expect![[r#"
        NAME     DESIRED   CURRENT   READY   AGE|
        web-5d   3         3         2       5m|
    "#]],
    );
}

#[test]
fn services_and_endpoint_slices_are_shown_as_kubectl_shows_them() {
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    let services = [
        service(
            "web",
            json!({"type": "ClusterIP", "clusterIPs": ["10.96.0.7"], "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}),
        ),
        service(
            "node",
            json!({"type": "NodePort", "clusterIPs": ["10.96.0.8"], "externalIPs": ["1.2.3.4"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}),
        ),
        service("head", json!({"type": "ClusterIP", "clusterIPs": ["None"]})),
        service(
            "ext",
            json!({"type": "ExternalName", "externalName": "example.com"}),
        ),
        service("lb", json!({"type": "LoadBalancer", "clusterIPs": ["10.96.0.9"]})),
    ];
    check(
        &services,
        WIDE,
        expect![[r#"
        NAME   TYPE           CLUSTER-IP   EXTERNAL-IP   PORT(S)         AGE   SELECTOR|
        web    ClusterIP      10.96.0.7    <none>        80/TCP,53/UDP   5m    app=web|
        node   NodePort       10.96.0.8    1.2.3.4       80:30080/TCP    5m    <none>|
        head   ClusterIP      None         <none>        <none>          5m    <none>|
        ext    ExternalName   <none>       example.com   <none>          5m    <none>|
        lb     LoadBalancer   10.96.0.9    <pending>     <none>          5m    <none>|
    "#]],
    );
    let slice = |name: &str, ports: Value, endpoints: Value| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": name},
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints})
    };
    let four: Vec<Value> = (1..=4)
        .map(|i| json!({"addresses": [format!("10.0.0.{i}")]}))
        .collect();
    let slices = [
        slice(
            "a",
            json!([{"port": 80}, {"name": "x"}]),
            json!([{"addresses": ["10.0.0.1"]}]),
        ),
        slice("b", json!([]), json!(four)),
        slice("c", json!([]), json!([])),
    ];
    check(
        &slices,
        Columns::default(),
        expect![[r#"
            NAME   ADDRESSTYPE   PORTS     ENDPOINTS                                AGE|
            a      IPv4          80,x      10.0.0.1                                 5m|
            b      IPv4          <unset>   10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...   5m|
            c      IPv4          <unset>   <unset>                                  5m|
        "#]],
    );
}

#[test]
fn nodes_are_shown_as_kubectl_shows_them() {
    let node = |name: &str, ready: &str, spec: Value| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name,
                "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/edge": ""}},
            "spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.7"}],
            "nodeInfo": {"kubeletVersion": "v0.1.0", "osImage": "Debian GNU/Linux 12", "kernelVersion": "6.1",
                "architecture": "amd64", "containerRuntimeVersion": "containerd://1.6.20"}}})
    };
    let mut bare = node("n3", "Unknown", json!({}));
    bare["metadata"]["labels"] = json!({});
    let nodes = [
        node("n1", "True", json!({})),
        node("n2", "False", json!({"unschedulable": true})),
        bare,
    ];
    check(
        &nodes,
        WIDE,
        expect![[r#"
        NAME   STATUS                        ROLES         AGE   VERSION   INTERNAL-IP   EXTERNAL-IP   OS-IMAGE              KERNEL-VERSION   CONTAINER-RUNTIME|
        n1     Ready                         edge,worker   5m    v0.1.0    10.0.0.7      <none>        Debian GNU/Linux 12   6.1 (amd64)      containerd://1.6.20|
        n2     NotReady,SchedulingDisabled   edge,worker   5m    v0.1.0    10.0.0.7      <none>        Debian GNU/Linux 12   6.1 (amd64)      containerd://1.6.20|
        n3     NotReady                      <none>        5m    v0.1.0    10.0.0.7      <none>        Debian GNU/Linux 12   6.1 (amd64)      containerd://1.6.20|
    "#]],
    );
}

#[test]
fn small_kinds_are_shown_as_kubectl_shows_them() {
    let of = |api_version: &str, kind: &str, fields: Value| {
        let mut value = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}});
        for (key, field) in fields.as_object().unwrap() {
            value[key] = field.clone();
        }
        value
    };
    check(
        &[of("v1", "Namespace", json!({"status": {"phase": "Active"}}))],
        Columns::default(),
        expect![[r#"
        NAME   STATUS   AGE|
        x      Active   5m|
    "#]],
    );
    let config_map = of(
        "v1",
        "ConfigMap",
        json!({"data": {"a": "1"}, "binaryData": {"b": "AA=="}}),
    );
    check(
        &[config_map],
        Columns::default(),
        expect![[r#"
        NAME   DATA   AGE|
        x      2      5m|
    "#]],
    );
    check(
        &[of(
            "v1",
            "Secret",
            json!({"type": "Opaque", "data": {"a": "AA=="}}),
        )],
        Columns::default(),
        expect![[r#"
        NAME   TYPE     DATA   AGE|
        x      Opaque   1      5m|
    "#]],
    );
    check(
        &[of("v1", "ServiceAccount", json!({}))],
        Columns::default(),
        expect![[r#"
        NAME   AGE|
        x      5m|
    "#]],
    );
    let lease = of(
        "coordination.k8s.io/v1",
        "Lease",
        json!({"spec": {"holderIdentity": "n1"}}),
    );
    check(
        &[lease],
        Columns::default(),
        expect![[r#"
        NAME   HOLDER   AGE|
        x      n1       5m|
    "#]],
    );
}

#[test]
fn events_are_shown_as_kubectl_shows_them() {
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "web.1"}, "type": "Warning",
        "reason": "BackOff", "message": "Back-off restarting\n", "count": 4,
        "firstTimestamp": "2026-11-20T11:50:00Z", "lastTimestamp": "2026-11-20T11:59:30Z",
        "source": {"component": "kubelet", "host": "n1"},
        "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"}});
    let new_style = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "web.2"}, "type": "Normal",
        "reason": "Scheduled", "message": "ok", "eventTime": "2026-11-20T11:59:00.000000Z",
        "reportingComponent": "scheduler", "involvedObject": {"kind": "Pod", "name": "web"}});
    check(
        &[event, new_style],
        WIDE,
        expect![[r#"
        LAST SEEN   TYPE      REASON      OBJECT    SUBOBJECT              SOURCE        MESSAGE               FIRST SEEN   COUNT   NAME|
        30s         Warning   BackOff     pod/web   spec.containers{web}   kubelet, n1   Back-off restarting   10m          4       web.1|
        60s         Normal    Scheduled   pod/web                          scheduler     ok                    60s          1       web.2|
    "#]],
    );
}

#[test]
fn kinds_of_policy_and_addresses_are_shown_as_kubectl_shows_them() {
    let budget = |name: &str, spec: Value| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec,
            "status": {"disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3}})
    };
    check(
        &[
            budget("a", json!({"minAvailable": 2})),
            budget("b", json!({"maxUnavailable": "25%"})),
        ],
        Columns::default(),
        expect![[r#"
            NAME   MIN AVAILABLE   MAX UNAVAILABLE   ALLOWED DISRUPTIONS   AGE|
            a      2               N/A               1                     5m|
            b      N/A             25%               1                     5m|
        "#]],
    );
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"},
        "value": 1000, "preemptionPolicy": "PreemptLowerPriority"});
    check(
        &[class],
        Columns::default(),
        expect![[r#"
            NAME   VALUE   GLOBAL-DEFAULT   AGE   PREEMPTIONPOLICY|
            high   1000    false            5m    PreemptLowerPriority|
        "#]],
    );
    let subsets = json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}, {"port": 443}]}]);
    let endpoints = |name: &str, subsets: Value| {
        json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": name}, "subsets": subsets})
    };
    check(
        &[endpoints("a", subsets), endpoints("b", json!([]))],
        Columns::default(),
        expect![[r#"
            NAME   ENDPOINTS                                          AGE|
            a      10.0.0.1:80,10.0.0.2:80,10.0.0.1:443 + 1 more...   5m|
            b      <none>                                             5m|
        "#]],
    );
    let address = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.96.0.1"},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "kubernetes"}}});
    check(
        &[address],
        Columns::default(),
        expect![[r#"
            NAME        PARENTREF|
            10.96.0.1   services/default/kubernetes|
        "#]],
    );
    let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ["10.96.0.0/16", "fd00::/112"]}});
    check(
        &[range],
        Columns::default(),
        expect![[r#"
            NAME         CIDRS                     AGE|
            kubernetes   10.96.0.0/16,fd00::/112   5m|
        "#]],
    );
    let template = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t"}, "template": {
        "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "i:1"}]}}});
    check(
        &[template],
        Columns::default(),
        expect![[r#"
            NAME   CONTAINERS   IMAGES   POD LABELS|
            t      a            i:1      app=web|
        "#]],
    );
    let owners = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1", "controller": true}]);
    let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 3,
        "metadata": {"name": "db-1", "ownerReferences": owners}});
    check(
        &[revision],
        Columns::default(),
        expect![[r#"
            NAME   CONTROLLER            REVISION   AGE|
            db-1   statefulset.apps/db   3          5m|
        "#]],
    );
}

#[test]
fn a_cell_is_one_line_and_moves_no_cursor() {
    assert_eq!(one_line("a\nb".into()), "a...");
    assert_eq!(one_line("\x1b[31mred".into()), "^[[31mred");
    assert_eq!(one_line("plain".into()), "plain");
}
