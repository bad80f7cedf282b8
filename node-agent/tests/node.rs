//! The node agent on a real containerd, in network and mount namespaces of its own.

mod support;

use gantry_node_agent::{Command, Config, cleanup, image, runtime, server};
use gantry_proto::core::v1::Pod;
use gantry_proto::node::v1::node_agent_client::NodeAgentClient;
use runtime::Runtime;
use runtime::container_config::{Made, container_config};
use runtime::observe::Observer;
use runtime::sandbox_config::{NodeFacts, sandbox_config};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime};
use support::api::Api;
use support::archive::{self, IMAGE};
use support::certificates;
use support::machine::{Machine, PAUSE, in_private_namespaces};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

const NODE: &str = "test-node";

fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["nodeName"] = json!(NODE);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script], "imagePullPolicy": "IfNotPresent"})
}

#[test]
fn the_runtime_shell_imports_runs_execs_and_recovers() {
    in_private_namespaces(|| async {
        let machine = Machine::start("shell");
        let runtime = Runtime::connect(&machine.socket()).unwrap();
        #[allow(clippy::disallowed_methods, reason = "a test runs now")]
        let import = |path| image::import::import(&runtime, path, "test-import", SystemTime::now());
        let pause = machine.root.join("pause.tar");
        assert_eq!(import(&pause).await.unwrap(), [PAUSE]);
        let busybox = archive::build(&machine.root);
        assert_eq!(import(&busybox).await.unwrap(), [IMAGE]);
        // Again: everything is there already.
        assert_eq!(import(&busybox).await.unwrap(), [IMAGE]);

        let value = pod(
            "shell",
            json!({"hostNetwork": true, "containers": [container("c", "echo hello; sleep 1000")]}),
        );
        let mut pod = gantry_proto::json::decode_value::<Pod>(&value).unwrap().object;
        pod.metadata_mut().uid = "uid-1".into();
        let facts = NodeFacts {
            node_name: NODE.into(),
            cgroup_parent: format!("/{}", machine.cgroup_root),
            log_directory: machine.root.join("logs").to_string_lossy().into_owned(),
            ..NodeFacts::default()
        };
        let sandbox = sandbox_config(&pod, 0, &facts);
        let sandbox_id = match runtime.run_sandbox(sandbox.clone(), String::new()).await {
            Ok(id) => id,
            Err(error) => panic!("{error}\n{}", machine.containerd_log()),
        };
        let image = runtime.image(IMAGE).await.unwrap().unwrap();
        let made = Made {
            image_ref: image.id,
            ..Made::default()
        };
        let config = container_config(&pod, &pod.spec().containers[0], made);
        let id = runtime
            .create_container(&sandbox_id, config, sandbox)
            .await
            .unwrap();
        runtime.start_container(&id).await.unwrap();

        let command = |text: &str| ["sh", "-c", text].map(str::to_string);
        let reply = runtime
            .exec(&id, &command("echo out; exit 3"), Duration::from_secs(10))
            .await
            .unwrap();
        assert_eq!((reply.exit_code, &reply.stdout[..]), (3, &b"out\n"[..]));

        // A new shell sees what the old one made.
        let observed = Observer::default()
            .observe(&Runtime::connect(&machine.socket()).unwrap(), "uid-1")
            .await
            .unwrap();
        let run = observed.latest("c").unwrap();
        assert!(
            run.is_running() && run.id == id && observed.ready_sandbox().is_some(),
            "{observed:?}"
        );
        let log = server::logs::last_lines(Path::new(&run.log_path), 10, 1000);
        assert_eq!(log.as_deref(), Some("hello\n"));

        runtime.stop_container(&id, Duration::from_secs(1)).await.unwrap();
        let observed = Observer::default().observe(&runtime, "uid-1").await.unwrap();
        assert_eq!(observed.latest("c").unwrap().exit().unwrap().code, 137);
        runtime.stop_sandbox(&sandbox_id).await.unwrap();
        runtime.remove_sandbox(&sandbox_id).await.unwrap();
        assert!(
            Observer::default()
                .observe(&runtime, "uid-1")
                .await
                .unwrap()
                .is_empty()
        );
        runtime::cgroup::Hierarchies::detect().remove(&facts.cgroup_parent);
        assert_eq!(machine.leftovers(), [0; 0]);
    });
}

struct Cluster {
    machine: Machine,
    api: Api,
    config: Config,
}

struct Agent {
    token: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Cluster {
    async fn start(name: &str) -> Cluster {
        let machine = Machine::start(name);
        let api = Api::default();
        api.serve("127.0.0.1:6443".parse().unwrap()).await;
        let root = &machine.root;
        certificates::write(
            root,
            &[
                ("node", "system:node:test-node", "system:nodes"),
                ("apiserver", "kube-apiserver-kubelet-client", "system:masters"),
            ],
        );
        let kubeconfig = "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:6443'}}], \
            users: [{name: u, user: {}}], contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}";
        std::fs::write(root.join("kubeconfig"), kubeconfig).unwrap();
        let path = |name: &str| root.join(name).to_string_lossy().into_owned();
        let arguments = [
            ("--node-name", NODE.to_string()),
            ("--node-ip", "127.0.0.1".to_string()),
            ("--kubeconfig", path("kubeconfig")),
            ("--containerd", path("containerd.sock")),
            ("--root-dir", path("agent")),
            ("--cni-conf-dir", path("net.d")),
            ("--pause-image", path("pause.tar")),
            ("--listen", "127.0.0.1:10250".to_string()),
            ("--tls-cert", path("node.crt")),
            ("--tls-key", path("node.key")),
            ("--ca", path("ca.crt")),
            ("--cgroup-root", machine.cgroup_root.clone()),
        ];
        let arguments = arguments
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_string(), value]);
        let arguments = std::iter::once("gantry-node-agent".to_string()).chain(arguments);
        let config = <Command as clap::Parser>::parse_from(arguments).config;
        Cluster { machine, api, config }
    }

    fn agent(&self) -> Agent {
        let token = CancellationToken::new();
        let task = tokio::spawn(gantry_node_agent::run(self.config.clone(), token.clone()));
        Agent { token, task }
    }

    async fn ready(&self) {
        self.api
            .eventually("the node registers", |api| api.get("nodes", "", NODE))
            .await;
        let mut node = self.api.get("nodes", "", NODE).unwrap();
        if node["spec"]["podCIDR"].is_null() {
            node["spec"] = json!({"podCIDR": "10.244.7.0/24"});
            self.api.apply(node);
        }
        self.api
            .eventually("the node is ready", |api| {
                let node = api.get("nodes", "", NODE)?;
                (condition(&node, "Ready")?["status"] == "True").then_some(())
            })
            .await;
    }

    fn connection(&self, identity: &str) -> Channel {
        let read = |name: &str| std::fs::read(self.machine.root.join(name)).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.crt")))
            .identity(Identity::from_pem(
                read(&format!("{identity}.crt")),
                read(&format!("{identity}.key")),
            ))
            .domain_name("localhost");
        Endpoint::from_static("https://127.0.0.1:10250")
            .tls_config(tls)
            .unwrap()
            .connect_lazy()
    }

    async fn logs(&self, request: gantry_proto::api::v1::LogsRequest) -> Result<String, tonic::Status> {
        let mut stream = NodeAgentClient::new(self.connection("apiserver"))
            .logs(request)
            .await?
            .into_inner();
        let mut text = String::new();
        while let Some(reply) = stream.message().await? {
            text += &String::from_utf8_lossy(&reply.data);
        }
        Ok(text)
    }

    /// By the agent's own door.
    async fn import(&self) {
        let bytes = std::fs::read(archive::build(&self.machine.root)).unwrap();
        let pieces: Vec<_> = bytes
            .chunks(1 << 20)
            .map(|data| gantry_proto::api::v1::ImportImageRequest {
                data: data.to_vec().into(),
                ..Default::default()
            })
            .collect();
        let mut client = NodeAgentClient::new(self.connection("apiserver"));
        let reply = client.import_image(futures::stream::iter(pieces)).await.unwrap();
        assert_eq!(reply.into_inner().images, [IMAGE]);
    }
}

fn condition(object: &Value, name: &str) -> Option<Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == name)
        .cloned()
}

fn is_ready(api: &Api, name: &str) -> Option<Value> {
    let pod = api.get("pods", "default", name)?;
    (condition(&pod, "Ready")?["status"] == "True").then_some(pod)
}

fn event(api: &Api, reason: &str, part: &str) -> Option<Value> {
    let holds = |event: &Value| {
        event["reason"] == reason && event["message"].as_str().unwrap_or_default().contains(part)
    };
    api.list("events").into_iter().find(holds)
}

fn logs_of(pod: &str, container: &str) -> gantry_proto::api::v1::LogsRequest {
    gantry_proto::api::v1::LogsRequest {
        namespace: "default".into(),
        pod: pod.into(),
        container: container.into(),
        ..Default::default()
    }
}

#[test]
fn a_pod_lives_from_binding_to_deletion_and_survives_the_agents_restart() {
    in_private_namespaces(|| async {
        let cluster = Cluster::start("life").await;
        let api = &cluster.api;
        let agent = cluster.agent();
        cluster.ready().await;
        cluster.import().await;

        api.apply(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": "default"}, "data": {"color": "blue"}}));
        api.apply(json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "token", "namespace": "default"}, "data": {"t": "czNjcmV0"}}));
        let mut web = container(
            "web",
            "echo $COLOR $(cat /settings/color) $(cat /token/t) $(cat /shared/made) $POD_IP; \
             trap 'echo bye; exit 0' TERM; while true; do sleep 0.1; done",
        );
        web["env"] = json!([
            {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
        web["volumeMounts"] = json!([{"name": "settings", "mountPath": "/settings"}, {"name": "token", "mountPath": "/token"},
            {"name": "shared", "mountPath": "/shared", "subPath": "part"}]);
        web["readinessProbe"] = json!({"exec": {"command": ["cat", "/shared/made"]}, "periodSeconds": 1});
        web["livenessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
        web["resources"] =
            json!({"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}});
        let mut init = container("init", "echo made > /shared/part/made");
        init["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
        let volumes = json!([{"name": "settings", "configMap": {"name": "settings"}},
            {"name": "token", "secret": {"secretName": "token"}}, {"name": "shared", "emptyDir": {}}]);
        init["command"] = json!([
            "sh",
            "-c",
            "mkdir -p /shared/part || /bin/busybox mkdir -p /shared/part; echo made > /shared/part/made"
        ]);
        api.apply(pod(
            "web",
            json!({"initContainers": [init], "containers": [web], "volumes": volumes}),
        ));

        let running = api.eventually("web is ready", |api| is_ready(api, "web")).await;
        let status = &running["status"];
        let ip = status["podIP"].as_str().unwrap().to_string();
        assert!(ip.starts_with("10.244.7."), "{status:#}");
        assert_eq!(
            (&status["phase"], &status["qosClass"], &status["hostIP"]),
            (&json!("Running"), &json!("Burstable"), &json!("127.0.0.1"))
        );
        assert_eq!(
            status["initContainerStatuses"][0]["state"]["terminated"]["reason"],
            "Completed"
        );
        let first = &status["containerStatuses"][0];
        assert_eq!(
            (&first["restartCount"], &first["started"]),
            (&json!(0), &json!(true))
        );
        // It is ready before it has written anything.
        let expected = format!("blue blue s3cret made {ip}\n");
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let text = cluster.logs(logs_of("web", "web")).await.unwrap();
            if text == expected {
                break;
            }
            assert!(text.is_empty() && std::time::Instant::now() < deadline, "{text}");
        }
        for (reason, part) in [
            ("Pulled", "already present"),
            ("Created", "created"),
            ("Started", "started"),
        ] {
            api.eventually(reason, |api| event(api, reason, part)).await;
        }

        // Another agent goes on where this one ended.
        agent.token.cancel();
        agent.task.await.unwrap().unwrap();
        let agent = cluster.agent();
        cluster.ready().await;
        let settings = json!({"apiVersion": "v1", "kind": "Pod", "metadata": running["metadata"], "spec": running["spec"],
            "status": running["status"]});
        assert_eq!(settings["kind"], "Pod");
        api.apply(pod(
            "second",
            json!({"containers": [container("c", "exec sleep 1000")], "terminationGracePeriodSeconds": 1}),
        ));
        api.eventually("second is ready", |api| is_ready(api, "second"))
            .await;
        let after = is_ready(api, "web").expect("web stays ready");
        assert_eq!(
            after["status"]["containerStatuses"][0]["containerID"],
            first["containerID"]
        );

        // The node was silent for a while: the node controller's word is taken back as soon as it is heard.
        let doubted = |object: &Value, status: &str| {
            let mut object = object.clone();
            for condition in object["status"]["conditions"].as_array_mut().unwrap() {
                if condition["type"] == "Ready" {
                    condition["status"] = json!(status);
                }
            }
            object
        };
        api.apply(doubted(&api.get("nodes", "", NODE).unwrap(), "Unknown"));
        api.apply(doubted(&is_ready(api, "web").unwrap(), "False"));
        cluster.ready().await;
        api.eventually("web is ready again", |api| is_ready(api, "web"))
            .await;

        // Its deletion: SIGTERM, the container ends by itself, the pod goes.
        let follow = cluster.logs(gantry_proto::api::v1::LogsRequest {
            follow: true,
            ..logs_of("web", "web")
        });
        api.delete_pod("default", "web", 30);
        let followed = follow.await.unwrap();
        assert!(followed.ends_with("bye\n"), "{followed}");
        api.eventually("web is gone", |api| {
            api.get("pods", "default", "web").is_none().then_some(())
        })
        .await;
        api.eventually("Killing", |api| event(api, "Killing", "Stopping container web"))
            .await;
        api.delete_pod("default", "second", 1);
        api.eventually("second is gone", |api| {
            api.get("pods", "default", "second").is_none().then_some(())
        })
        .await;

        agent.token.cancel();
        agent.task.await.unwrap().unwrap();
        cleanup(&cluster.config).await.unwrap();
        assert_nothing_is_left(&cluster);
    });
}

#[test]
fn what_goes_wrong_is_said_in_kubernetes_words() {
    in_private_namespaces(|| async {
        let cluster = Cluster::start("wrong").await;
        let api = &cluster.api;
        let agent = cluster.agent();
        cluster.ready().await;
        cluster.import().await;
        let waiting = |api: &Api, name: &str, reason: &str| {
            let pod = api.get("pods", "default", name)?;
            let status = pod["status"]["containerStatuses"][0].clone();
            (status["state"]["waiting"]["reason"] == reason).then_some(status)
        };

        api.apply(pod(
            "crash",
            json!({"containers": [container("c", "echo oops; echo why > /dev/termination-log; exit 7")]}),
        ));
        let mut missing = container("c", "true");
        missing["image"] = json!("gantry.local/missing:1");
        missing["imagePullPolicy"] = json!("Never");
        api.apply(pod("missing", json!({"containers": [missing]})));
        let mut unset = container("c", "true");
        unset["env"] = json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": "nothing", "key": "x"}}}]);
        api.apply(pod("unset", json!({"containers": [unset]})));
        let mut bad = container("c", "true");
        bad["command"] = json!(["/no/such/command"]);
        api.apply(pod("bad", json!({"containers": [bad]})));
        api.apply(pod(
            "job",
            json!({"restartPolicy": "Never", "containers": [container("c", "exit 0")]}),
        ));
        let mut sick = container("c", "trap 'exit 0' TERM; while true; do sleep 0.1; done");
        sick["livenessProbe"] =
            json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2});
        api.apply(pod("sick", json!({"containers": [sick]})));
        let no_map = json!([{"name": "v", "configMap": {"name": "absent"}}]);
        api.apply(pod(
            "unmounted",
            json!({"containers": [container("c", "true")], "volumes": no_map}),
        ));

        let crashed = api
            .eventually("CrashLoopBackOff", |api| {
                waiting(api, "crash", "CrashLoopBackOff")
            })
            .await;
        let uid = api.get("pods", "default", "crash").unwrap()["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_string();
        let message = format!("back-off 10s restarting failed container=c pod=crash_default({uid})");
        assert_eq!(crashed["state"]["waiting"]["message"], json!(message));
        let last = &crashed["lastState"]["terminated"];
        assert_eq!(
            (&last["exitCode"], &last["reason"], &last["message"]),
            (&json!(7), &json!("Error"), &json!("why\n"))
        );
        assert_eq!(crashed["restartCount"], 1);
        api.eventually("BackOff", |api| {
            event(
                api,
                "BackOff",
                "Back-off restarting failed container c in pod crash_",
            )
        })
        .await;
        let previous = gantry_proto::api::v1::LogsRequest {
            previous: true,
            ..logs_of("crash", "")
        };
        assert_eq!(cluster.logs(previous).await.unwrap(), "oops\n");

        let never = api
            .eventually("ErrImageNeverPull", |api| {
                waiting(api, "missing", "ErrImageNeverPull")
            })
            .await;
        let message = "Container image \"gantry.local/missing:1\" is not present with pull policy of Never";
        assert_eq!(never["state"]["waiting"]["message"], message);
        let config = api
            .eventually("config error", |api| {
                waiting(api, "unset", "CreateContainerConfigError")
            })
            .await;
        assert_eq!(
            config["state"]["waiting"]["message"],
            "secret \"nothing\" not found"
        );
        api.eventually("the bad command is told", |api| {
            event(api, "Failed", "no such file or directory")
        })
        .await;
        let job = api
            .eventually("the job succeeds", |api| {
                let pod = api.get("pods", "default", "job")?;
                (pod["status"]["phase"] == "Succeeded").then_some(pod)
            })
            .await;
        assert_eq!(condition(&job, "Ready").unwrap()["reason"], "PodCompleted");
        api.eventually("the sick one is restarted", |api| {
            let pod = api.get("pods", "default", "sick")?;
            (pod["status"]["containerStatuses"][0]["restartCount"].as_i64()? > 0).then_some(())
        })
        .await;
        api.eventually("Killing", |api| {
            event(
                api,
                "Killing",
                "Container c failed liveness probe, will be restarted",
            )
        })
        .await;
        let mount = "MountVolume.SetUp failed for volume \"v\" : configmap \"absent\" not found";
        api.eventually("FailedMount", |api| event(api, "FailedMount", mount))
            .await;

        let error = cluster.logs(logs_of("unset", "c")).await.unwrap_err();
        assert_eq!(
            error.message(),
            "container \"c\" in pod \"unset\" is waiting to start: CreateContainerConfigError"
        );
        let mut stranger = NodeAgentClient::new(cluster.connection("node"));
        let refused = stranger.logs(logs_of("crash", "")).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);

        for name in ["crash", "missing", "unset", "bad", "job", "sick", "unmounted"] {
            api.delete_pod("default", name, 1);
        }
        api.eventually("all are gone", |api| api.list("pods").is_empty().then_some(()))
            .await;
        agent.token.cancel();
        agent.task.await.unwrap().unwrap();
        cleanup(&cluster.config).await.unwrap();
        assert_nothing_is_left(&cluster);
    });
}

fn assert_nothing_is_left(cluster: &Cluster) {
    assert_eq!(cluster.machine.leftovers(), [0; 0]);
    assert!(!cluster.config.root_dir.exists());
    let links = std::process::Command::new("ip")
        .args(["-br", "link"])
        .output()
        .unwrap()
        .stdout;
    let links = String::from_utf8_lossy(&links).into_owned();
    assert!(!links.contains("gantry0") && !links.contains("veth"), "{links}");
    let tables = std::process::Command::new("nft")
        .args(["list", "tables"])
        .output()
        .unwrap()
        .stdout;
    assert!(!String::from_utf8_lossy(&tables).contains("gantry-node"));
    let cgroups = runtime::cgroup::Hierarchies::detect();
    assert_eq!(
        cgroups.children(&format!("/{}", cluster.config.cgroup_root)),
        Vec::<String>::new()
    );
}
