use super::*;
use expect_test::{Expect, expect};
use gantry_proto::{Kind, json as proto_json};
use serde_json::{Value, json};
use std::time::Duration;

/// 2026-11-20T12:00:00Z.
const NOW_SECONDS: u64 = 1_795_176_000;

fn typed<K: Kind>(value: Value) -> K {
    proto_json::decode_value::<K>(&value).unwrap().object
}

fn check<K: Kind>(value: Value, related: Related, expected: Expect) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
    expected.assert_eq(&describe(&Object::of(&typed::<K>(value)), &related, now).unwrap());
}

#[test]
fn a_pod_is_described_as_kubectl_describes_it() {
    let event = json!({"type": "Normal", "reason": "Pulled", "message": "Container image present", "count": 3,
        "firstTimestamp": "2026-11-20T11:50:00Z", "lastTimestamp": "2026-11-20T11:59:00Z",
        "source": {"component": "kubelet", "host": "n1"}});
    let related = Related {
        events: vec![typed(event)],
        ..Related::default()
    };
    let pod = json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"app": "web", "tier": "front"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}]},
        "spec": {"nodeName": "n1", "serviceAccountName": "default",
            "containers": [{"name": "web", "image": "web:1", "command": ["serve", "-v"],
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}]}],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300}]},
        "status": {"phase": "Running", "hostIP": "10.0.0.7", "podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}],
            "startTime": "2026-11-20T11:50:00Z", "qosClass": "Burstable",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "web", "ready": true, "restartCount": 1, "image": "web:1",
                "imageID": "sha256:1", "containerID": "containerd://c",
                "state": {"running": {"startedAt": "2026-11-20T11:51:00Z"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": "2026-11-20T11:50:01Z",
                    "finishedAt": "2026-11-20T11:50:59Z"}}}]},
    });
    check::<Pod>(
        pod,
        related,
        expect![[r#"
        Name:             web-1
        Namespace:        default
        Service Account:  default
        Node:             n1/10.0.0.7
        Start Time:       Fri, 20 Nov 2026 11:50:00 +0000
        Labels:           app=web
                          tier=front
        Annotations:      <none>
        Status:           Running
        IP:               10.244.0.5
        IPs:
          IP:           10.244.0.5
        Controlled By:  ReplicaSet/web
        Containers:
          web:
            Container ID:  containerd://c
            Image:         web:1
            Image ID:      sha256:1
            Port:          80/TCP
            Host Port:     0/TCP
            Command:
              serve
              -v
            State:          Running
              Started:      Fri, 20 Nov 2026 11:51:00 +0000
            Last State:     Terminated
              Reason:       Error
              Exit Code:    1
              Started:      Fri, 20 Nov 2026 11:50:01 +0000
              Finished:     Fri, 20 Nov 2026 11:50:59 +0000
            Ready:          True
            Restart Count:  1
            Limits:
              cpu:     1
              memory:  64Mi
            Requests:
              cpu:     100m
            Liveness:  http-get http://:80/healthz delay=0s timeout=1s period=10s #success=1 #failure=3
            Environment:
              A:  1
              B:  <set to the key 'k' in secret 's'>  Optional: false
            Mounts:
              /data from data (ro)
        Conditions:
          Type    Status
          Ready   True 
        Volumes:
          data:
            Type:        EmptyDir (a temporary directory that shares a pod's lifetime)
            Medium:      
            SizeLimit:   <unset>
        QoS Class:       Burstable
        Node-Selectors:  <none>
        Tolerations:     node.kubernetes.io/not-ready:NoExecute op=Exists for 300s
        Events:
          Type    Reason  Age                From     Message
          ----    ------  ----               ----     -------
          Normal  Pulled  60s (x3 over 10m)  kubelet  Container image present
    "#]],
    );
}

#[test]
fn a_deployment_is_described_with_its_replica_sets() {
    let template = |image: &str| json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}});
    let replica_set = |name: &str, revision: &str, image: &str, replicas: i32| {
        typed(
            json!({"metadata": {"name": name, "annotations": {"deployment.kubernetes.io/revision": revision},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": true}]},
            "spec": {"replicas": replicas, "template": template(image)}, "status": {"replicas": replicas}}),
        )
    };
    let replica_sets = vec![
        replica_set("web-a", "1", "web:1", 1),
        replica_set("web-b", "2", "web:2", 2),
    ];
    let deployment = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "creationTimestamp": "2026-11-20T11:50:00Z",
            "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("web:2"),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}},
        "status": {"replicas": 3, "updatedReplicas": 2, "availableReplicas": 2, "unavailableReplicas": 1,
            "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}]},
    });
    let related = Related {
        replica_sets,
        ..Related::default()
    };
    check::<gantry_proto::apps::v1::Deployment>(
        deployment,
        related,
        expect![[r#"
        Name:                   web
        Namespace:              default
        CreationTimestamp:      Fri, 20 Nov 2026 11:50:00 +0000
        Labels:                 <none>
        Annotations:            deployment.kubernetes.io/revision: 2
        Selector:               app=web
        Replicas:               3 desired | 2 updated | 3 total | 2 available | 1 unavailable
        StrategyType:           RollingUpdate
        MinReadySeconds:        0
        RollingUpdateStrategy:  1 max unavailable, 25% max surge
        Pod Template:
          Labels:  app=web
          Containers:
           web:
            Image:         web:2
            Port:          <none>
            Host Port:     <none>
            Environment:   <none>
            Mounts:        <none>
          Volumes:         <none>
          Node-Selectors:  <none>
          Tolerations:     <none>
        Conditions:
          Type           Status  Reason
          ----           ------  ------
          Available      True    MinimumReplicasAvailable
        OldReplicaSets:  web-a (1/1 replicas created)
        NewReplicaSet:   web-b (2/2 replicas created)
        Events:          <none>
    "#]],
    );
}

#[test]
fn a_service_is_described_with_its_endpoints() {
    let slice = json!({"metadata": {"name": "web-1"}, "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.244.0.5"], "conditions": {"ready": true}},
            {"addresses": ["10.244.0.6"], "conditions": {"ready": false}}]});
    let service = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "selector": {"app": "web"},
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP", "nodePort": 30080}]},
    });
    let related = Related {
        endpoint_slices: vec![typed(slice)],
        ..Related::default()
    };
    check::<gantry_proto::core::v1::Service>(
        service,
        related,
        expect![[r#"
        Name:                     web
        Namespace:                default
        Labels:                   <none>
        Annotations:              <none>
        Selector:                 app=web
        Type:                     NodePort
        IP Family Policy:         SingleStack
        IP Families:              IPv4
        IP:                       10.96.0.7
        IPs:                      10.96.0.7
        Port:                     http  80/TCP
        TargetPort:               web/TCP
        NodePort:                 http  30080/TCP
        Endpoints:                10.244.0.5:8080
        Session Affinity:         None
        External Traffic Policy:  Cluster
        Internal Traffic Policy:  Cluster
        Events:                   <none>
    "#]],
    );
}

#[test]
fn a_node_is_described_with_its_pods() {
    let pod = typed(
        json!({"metadata": {"name": "web-1", "namespace": "default", "creationTimestamp": "2026-11-20T11:59:00Z"},
        "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "500m"}}}]}}),
    );
    let node = json!({
        "metadata": {"name": "n1"},
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"],
            "taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]},
        "status": {"capacity": {"cpu": "2", "memory": "1Gi"}, "allocatable": {"cpu": "2", "memory": "1Gi"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.7"}],
            "nodeInfo": {"kubeletVersion": "v0.1.0"}},
    });
    let related = Related {
        pods: vec![pod],
        ..Related::default()
    };
    check::<gantry_proto::core::v1::Node>(
        node,
        related,
        expect![[r#"
        Name:               n1
        Roles:              <none>
        Labels:             <none>
        Annotations:        <none>
        CreationTimestamp:  <unknown>
        Taints:             dedicated=db:NoSchedule
        Unschedulable:      false
        Lease:              Failed to get lease
        Conditions:
          Type    Status  LastHeartbeatTime  LastTransitionTime  Reason         Message
          ----    ------  -----------------  ------------------  ------         -------
          Ready   True    <unknown>          <unknown>           KubeletReady   ready
        Addresses:
          InternalIP:  10.0.0.7
        Capacity:
          cpu:     2
          memory:  1Gi
        Allocatable:
          cpu:     2
          memory:  1Gi
        System Info:
          Machine ID:                 
          System UUID:                
          Boot ID:                    
          Kernel Version:             
          OS Image:                   
          Operating System:           
          Architecture:               
          Container Runtime Version:  
          Kubelet Version:            v0.1.0
        PodCIDR:                      10.244.0.0/24
        PodCIDRs:                     10.244.0.0/24
        Non-terminated Pods:          (1 in total)
          Namespace                   Name     CPU Requests  CPU Limits  Memory Requests  Memory Limits  Age
          ---------                   ----     ------------  ----------  ---------------  -------------  ---
          default                     web-1    500m (25%)    0 (0%)      64Mi (6%)        0 (0%)         60s
        Allocated resources:
          (Total limits may be over 100 percent, i.e., overcommitted.)
          Resource  Requests    Limits
          --------  --------    ------
          cpu       500m (25%)  0 (0%)
          memory    64Mi (6%)   0 (0%)
        Events:     <none>
    "#]],
    );
}

#[test]
fn a_secret_is_described_without_its_values() {
    let secret = json!({"metadata": {"name": "s", "namespace": "default"}, "type": "Opaque", "data": {"k": "c2VjcmV0"}});
    check::<gantry_proto::core::v1::Secret>(
        secret,
        Related::default(),
        expect![[r#"
        Name:         s
        Namespace:    default
        Labels:       <none>
        Annotations:  <none>

        Type:  Opaque

        Data
        ====
        k:       6 bytes
        Events:  <none>
    "#]],
    );
}

#[test]
fn a_kind_without_a_describer_shows_every_field() {
    let lease = json!({"metadata": {"name": "n1", "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 40}});
    check::<Lease>(
        lease,
        Related::default(),
        expect![[r#"
        Name:         n1
        Namespace:    kube-node-lease
        Labels:       <none>
        Annotations:  <none>
        API Version:  coordination.k8s.io/v1
        Kind:         Lease
        Spec:
          Holder Identity:         n1
          Lease Duration Seconds:  40
        Events:                    <none>
    "#]],
    );
}

#[test]
fn kinds_of_policy_and_scheduling_are_described_as_kubectl_describes_them() {
    let budget = json!({"metadata": {"name": "web", "namespace": "default"},
        "spec": {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3}});
    check::<gantry_proto::policy::v1::PodDisruptionBudget>(
        budget,
        Related::default(),
        expect![[r#"
            Name:             web
            Namespace:        default
            Max unavailable:  25%
            Selector:         app=web
            Status:
                Allowed disruptions:  1
                Current:              3
                Desired:              2
                Total:                3
            Events:                   <none>
        "#]],
    );
    let class = json!({"metadata": {"name": "high", "annotations": {"a": "b"}}, "value": 1000, "globalDefault": true,
        "description": "first", "preemptionPolicy": "Never"});
    check::<gantry_proto::scheduling::v1::PriorityClass>(
        class,
        Related::default(),
        expect![[r#"
            Name:              high
            Value:             1000
            GlobalDefault:     true
            PreemptionPolicy:  Never
            Description:       first
            Annotations:       a=b
            Events:            <none>
        "#]],
    );
}

#[test]
fn endpoints_and_namespaces_are_described_as_kubectl_describes_them() {
    let endpoints = json!({"metadata": {"name": "web", "namespace": "default"}, "subsets": [
        {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "notReadyAddresses": [{"ip": "10.0.0.3"}],
            "ports": [{"port": 80, "protocol": "TCP"}]}]});
    check::<gantry_proto::core::v1::Endpoints>(
        endpoints,
        Related::default(),
        expect![[r#"
            Name:         web
            Namespace:    default
            Labels:       <none>
            Annotations:  <none>
            Subsets:
              Addresses:          10.0.0.1,10.0.0.2
              NotReadyAddresses:  10.0.0.3
              Ports:
                Name     Port  Protocol
                ----     ----  --------
                <unset>  80    TCP

            Events:  <none>
        "#]],
    );
    let namespace = json!({"metadata": {"name": "team"}, "status": {"phase": "Terminating", "conditions": [
        {"type": "NamespaceContentRemaining", "status": "True", "reason": "SomeResourcesRemain",
            "message": "Some resources are remaining", "lastTransitionTime": "2026-11-20T11:50:00Z"}]}});
    check::<gantry_proto::core::v1::Namespace>(
        namespace,
        Related::default(),
        expect![[r#"
            Name:         team
            Labels:       <none>
            Annotations:  <none>
            Status:       Terminating
            Conditions:
              Type                       Status  LastTransitionTime               Reason               Message
              ----                       ------  ------------------               ------               -------
              NamespaceContentRemaining  True    Fri, 20 Nov 2026 11:50:00 +0000  SomeResourcesRemain  Some resources are remaining

            No resource quota.

            No LimitRange resource.
        "#]],
    );
}
