//! A whole cluster: etcd, apiserver, scheduler and controller-manager in one network namespace, and each
//! node (containerd, node-agent, proxy) in one of its own.

use crate::eventually;
use crate::network::{self, CONTROL_PLANE, Network, STANDBY};
use crate::process::Process;
use crate::traces::Collector;
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a cluster may take to start on two busy cores.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Where the test's collector listens, in the control plane's namespace.
const COLLECTOR: &str = "10.99.0.1:4317";

/// Whole clusters are heavy: the tests of one program take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Waits for the caller's turn, which lasts as long as what is returned.
pub fn take_turn() -> MutexGuard<'static, ()> {
    // A test that failed has cleaned up all the same.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a cluster is made of.
pub struct Options {
    pub nodes: usize,
    /// Start a second apiserver, scheduler and controller-manager.
    pub standby: bool,
    /// Collect traces.
    pub traces: bool,
    /// Further arguments by component name.
    pub arguments: Vec<(&'static str, &'static str)>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            nodes: 1,
            standby: false,
            traces: false,
            arguments: Vec::new(),
        }
    }
}

/// A running cluster; everything of it goes away with it.
pub struct Cluster {
    // Fields are dropped in this order: processes before the network and the folder they live in.
    pub nodes: Vec<Node>,
    /// The second control plane, where there is one.
    pub standby: Option<ControlPlane>,
    pub controller_manager: Process,
    pub scheduler: Process,
    pub apiserver: Process,
    pub etcd: Process,
    pub collector: Option<Collector>,
    pub network: Network,
    folder: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

pub struct ControlPlane {
    pub controller_manager: Process,
    pub scheduler: Process,
    pub apiserver: Process,
}

pub struct Node {
    pub name: String,
    pub address: IpAddr,
    pub agent: Process,
    pub proxy: Process,
    pub containerd: Process,
    cleanup: Vec<Command>,
}

/// Starts a process: its name, its program, its network namespace and its arguments.
type Start<'a> = dyn Fn(&str, PathBuf, &str, Vec<String>) -> anyhow::Result<Process> + 'a;

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub struct Output {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Cluster {
    /// Starts a cluster for one test and moves the calling thread into its network, so that clients which
    /// the test makes reach it. `name` is short and unique among tests.
    pub fn start(name: &str, options: &Options) -> anyhow::Result<Cluster> {
        let turn = take_turn();
        let prefix = format!("gt{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(&prefix);
        fs::create_dir_all(folder.join("log"))?;
        let network = Network::new(&prefix, options.nodes)?;
        let plane = network.control_plane();
        network::enter(&network::path(&plane))?;
        let collector = options
            .traces
            .then(|| Collector::start(COLLECTOR.parse()?))
            .transpose()?;
        let pki = folder.join("pki");
        let addresses = [CONTROL_PLANE, STANDBY].map(|address| address.to_string());
        let planes = if options.standby { 2 } else { 1 };
        let mut init = vec!["init".to_string(), "--dir".into(), text(&pki)];
        for address in &addresses[..planes] {
            init.extend(["--san".into(), address.clone()]);
            init.extend(["--server".into(), format!("https://{address}:6443")]);
        }
        run(
            &binary("gantry")?,
            &init.iter().map(String::as_str).collect::<Vec<_>>(),
        )?;

        // A node's process is named `component/node`: one component, a log for each node.
        let start = |name: &str, program: PathBuf, namespace: &str, mut arguments: Vec<String>| {
            let component = name.split('/').next().unwrap_or(name);
            for (_, extra) in options.arguments.iter().filter(|(of, _)| *of == component) {
                arguments.push(extra.to_string());
            }
            let mut process = Process::new(
                &name.replace('/', "-"),
                &program,
                arguments,
                namespace,
                &folder.join("log"),
            );
            if options.traces && name.starts_with("gantry-") {
                process = process.environment("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{COLLECTOR}"));
            }
            process.start().map(|()| process)
        };
        let etcd = start(
            "etcd",
            program("etcd", "scripts/install-etcd.sh")?,
            &plane,
            etcd_arguments(&pki, &folder),
        )?;
        let ControlPlane {
            controller_manager,
            scheduler,
            apiserver,
        } = start_control_plane(&start, &pki, &plane, "", &addresses[0])?;
        let standby = match options.standby {
            true => Some(start_control_plane(
                &start,
                &pki,
                &plane,
                "/standby",
                &addresses[1],
            )?),
            false => None,
        };
        let mut cluster = Cluster {
            nodes: Vec::new(),
            standby,
            controller_manager,
            scheduler,
            apiserver,
            etcd,
            collector,
            network,
            folder: folder.clone(),
            _turn: turn,
        };
        for number in 1..=options.nodes {
            let node = cluster.start_node(number, &start)?;
            cluster.nodes.push(node);
        }
        cluster.wait_until_ready();
        Ok(cluster)
    }

    fn start_node(&self, number: usize, start: &Start<'_>) -> anyhow::Result<Node> {
        let name = format!("n{number}");
        let namespace = self.network.node(number);
        let address = IpAddr::from(network::address(number));
        let (pki, home) = (self.folder.join("pki"), self.folder.join(&name));
        run(
            &binary("gantry")?,
            &[
                "init",
                "node",
                &name,
                "--dir",
                &text(&pki),
                "--address",
                &address.to_string(),
            ],
        )?;
        fs::create_dir_all(&home)?;
        let socket = home.join("containerd.sock");
        let config = home.join("containerd.toml");
        let script = root().join("scripts/containerd-config.sh");
        let places = [
            home.join("root"),
            home.join("state"),
            socket.clone(),
            home.join("cni/net.d"),
        ]
        .map(|p| text(&p));
        let written = run(&script, &[&places[0], &places[1], &places[2], &places[3]])?;
        fs::write(&config, written)?;
        let containerd = program("containerd", "scripts/install.sh")?;
        let containerd = start(
            &format!("containerd/{name}"),
            containerd,
            &namespace,
            vec!["--config".into(), text(&config)],
        )?;
        let node_pki = pki.join("nodes").join(&name);
        let agent_arguments = vec![
            format!("--node-name={name}"),
            format!("--node-ip={address}"),
            format!("--kubeconfig={}", text(&node_pki.join("kubeconfig"))),
            format!("--containerd={}", text(&socket)),
            format!("--root-dir={}", text(&home.join("agent"))),
            format!("--cni-conf-dir={}", text(&home.join("cni/net.d"))),
            format!("--tls-cert={}", text(&node_pki.join("tls.crt"))),
            format!("--tls-key={}", text(&node_pki.join("tls.key"))),
            format!("--ca={}", text(&pki.join("ca.crt"))),
            format!("--pause-image={}", text(&pause_image()?)),
        ];
        let proxy_arguments = vec![
            format!("--node-name={name}"),
            format!("--node-ip={address}"),
            format!("--kubeconfig={}", text(&node_pki.join("proxy.kubeconfig"))),
            format!("--tls-cert={}", text(&node_pki.join("proxy.crt"))),
            format!("--tls-key={}", text(&node_pki.join("proxy.key"))),
            format!("--ca={}", text(&pki.join("ca.crt"))),
        ];
        let mut cleanup = Vec::new();
        for (program, arguments) in [
            ("gantry-proxy", &proxy_arguments),
            ("gantry-node-agent", &agent_arguments),
        ] {
            let mut command = Command::new("nsenter");
            command
                .arg(format!("--net={}", network::path(&namespace)))
                .arg("--")
                .arg(binary(program)?);
            command.arg("cleanup").args(arguments);
            cleanup.push(command);
        }
        Ok(Node {
            agent: start(
                &format!("gantry-node-agent/{name}"),
                binary("gantry-node-agent")?,
                &namespace,
                agent_arguments,
            )?,
            proxy: start(
                &format!("gantry-proxy/{name}"),
                binary("gantry-proxy")?,
                &namespace,
                proxy_arguments,
            )?,
            containerd,
            name,
            address,
            cleanup,
        })
    }

    fn wait_until_ready(&self) {
        let wanted = self.nodes.len();
        eventually("all nodes are Ready", START_LIMIT, || {
            let nodes = self.json(&["get", "nodes"])?;
            let ready = items(&nodes)
                .iter()
                .filter(|node| condition(node, "Ready") == "True")
                .count();
            (ready == wanted)
                .then_some(())
                .ok_or(format!("{ready} of {wanted} are Ready"))
        });
    }

    /// Runs `gantry` as the administrator.
    pub fn gantry(&self, arguments: &[&str]) -> Output {
        self.gantry_with(arguments, &[])
    }

    pub fn gantry_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = match binary("gantry") {
            Ok(path) => Command::new(path),
            Err(error) => panic!("{error:#}"),
        };
        command
            .env("GANTRY_CONFIG", self.folder.join("pki/admin/kubeconfig"))
            .args(arguments);
        if self.collector.is_some() {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{COLLECTOR}"));
        }
        command.envs(environment.iter().copied());
        match command.output() {
            Ok(output) => Output {
                ok: output.status.success(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            },
            Err(error) => panic!("running gantry: {error}"),
        }
    }

    /// Runs `gantry`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.gantry(arguments);
        assert!(
            output.ok,
            "gantry {}: {}{}",
            arguments.join(" "),
            output.stdout,
            output.stderr
        );
        output.stdout
    }

    /// Runs `gantry ... -o json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = self.gantry(&[arguments, &["-o", "json"]].concat());
        if !output.ok {
            return Err(output.stderr);
        }
        serde_json::from_str(&output.stdout).map_err(|error| format!("{error}: {}", output.stdout))
    }

    /// Puts an image archive into every node.
    #[track_caller]
    pub fn import(&self, archive: &str) {
        let path = root().join("target/images").join(archive);
        assert!(
            path.exists(),
            "{} is missing: run scripts/build-images.sh",
            path.display()
        );
        self.must(&["image", "import", &text(&path)]);
    }

    /// Writes a manifest to a file and returns its path.
    #[track_caller]
    pub fn write(&self, manifest: &str) -> String {
        #[allow(clippy::disallowed_methods, reason = "a name that no other file has")]
        let path = self
            .folder
            .join(format!("manifest-{:x}.yaml", rand::random::<u64>()));
        if let Err(error) = fs::write(&path, manifest) {
            panic!("writing {}: {error}", path.display());
        }
        text(&path)
    }

    /// Applies a manifest given as text.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        self.must(&["apply", "-f", &self.write(manifest)])
    }

    /// Starts a `gantry` that goes on until it is dropped, or ends by itself.
    #[track_caller]
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let started = binary("gantry").and_then(|program| {
            #[allow(clippy::disallowed_methods, reason = "a name that no other file has")]
            let path = self.folder.join(format!("printed-{:x}", rand::random::<u64>()));
            let child = Command::new(program)
                .env("GANTRY_CONFIG", self.kubeconfig())
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(File::create(&path)?)
                .stderr(Stdio::null())
                .spawn()?;
            Ok(Running { child, path })
        });
        match started {
            Ok(running) => running,
            Err(error) => panic!("gantry {}: {error:#}", arguments.join(" ")),
        }
    }

    /// Pods that a label selector names, as JSON.
    pub fn pods(&self, selector: &str) -> Result<Vec<Value>, String> {
        self.json(&["get", "pods", "-l", selector])
            .map(|list| items(&list))
    }

    /// The address of a Service.
    #[track_caller]
    pub fn cluster_ip(&self, service: &str, port: u16) -> SocketAddr {
        let found = self.json(&["get", "service", service]).unwrap_or_default();
        let address = found["spec"]["clusterIP"]
            .as_str()
            .and_then(|ip| ip.parse::<IpAddr>().ok());
        match address {
            Some(address) => SocketAddr::new(address, port),
            None => panic!("service {service} has no cluster IP: {found}"),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("pki/admin/kubeconfig")
    }

    /// What a process measures, read as Prometheus reads it. `address` is `HOST:PORT`.
    pub fn metrics(&self, address: &str) -> Result<String, String> {
        let pki = self.folder.join("pki");
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--max-time", "5"])
            .arg("--cacert")
            .arg(pki.join("ca.crt"))
            .arg("--cert")
            .arg(pki.join("prometheus/tls.crt"))
            .arg("--key")
            .arg(pki.join("prometheus/tls.key"))
            .arg(format!("https://{address}/metrics"))
            .output()
            .map_err(|error| format!("running curl: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Where a node's containerd keeps the network namespaces of pods.
    pub fn pod_networks(&self, number: usize) -> PathBuf {
        self.folder
            .join(format!("n{number}"))
            .join("state/io.containerd.grpc.v1.cri/netns")
    }

    /// A node's network namespace.
    pub fn node_network(&self, number: usize) -> String {
        network::path(&self.network.node(number))
    }

    fn processes(&self) -> Vec<&Process> {
        let mut all = vec![
            &self.etcd,
            &self.apiserver,
            &self.scheduler,
            &self.controller_manager,
        ];
        if let Some(standby) = &self.standby {
            all.extend([
                &standby.apiserver,
                &standby.scheduler,
                &standby.controller_manager,
            ]);
        }
        for node in &self.nodes {
            all.extend([&node.containerd, &node.agent, &node.proxy]);
        }
        all
    }
}

/// A command that runs beside the test.
pub struct Running {
    child: Child,
    path: PathBuf,
}

impl Running {
    /// What it has printed so far.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.path).unwrap_or_default()
    }

    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in self.processes() {
                eprintln!(
                    "---- the end of {}'s log\n{}",
                    process.name(),
                    process.log_tail(LOG_LINES)
                );
            }
        }
        for node in &mut self.nodes {
            node.agent.kill();
            node.proxy.kill();
            for command in &mut node.cleanup {
                match command.output() {
                    Ok(output) if output.status.success() => {}
                    Ok(output) => eprintln!(
                        "cleanup of {}: {}",
                        node.name,
                        String::from_utf8_lossy(&output.stderr)
                    ),
                    Err(error) => eprintln!("cleanup of {}: {error}", node.name),
                }
            }
            node.containerd.stop();
        }
        if std::env::var_os("GANTRY_TEST_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// How much of each log a failing test shows.
const LOG_LINES: usize = 40;

/// A list's items.
pub fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// A condition's status; empty where there is none.
pub fn condition(object: &Value, name: &str) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == name));
    found
        .and_then(|condition| condition["status"].as_str())
        .unwrap_or_default()
        .to_string()
}

fn etcd_arguments(pki: &Path, folder: &Path) -> Vec<String> {
    let file = |name: &str| text(&pki.join("etcd").join(name));
    vec![
        "--name=test".into(),
        format!("--data-dir={}", text(&folder.join("etcd"))),
        "--listen-client-urls=https://127.0.0.1:2379".into(),
        "--advertise-client-urls=https://127.0.0.1:2379".into(),
        "--listen-peer-urls=https://127.0.0.1:2380".into(),
        "--initial-advertise-peer-urls=https://127.0.0.1:2380".into(),
        "--initial-cluster=test=https://127.0.0.1:2380".into(),
        format!("--cert-file={}", file("server.crt")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("ca.crt")),
        "--client-cert-auth".into(),
        format!("--peer-cert-file={}", file("server.crt")),
        format!("--peer-key-file={}", file("server.key")),
        format!("--peer-trusted-ca-file={}", file("ca.crt")),
        "--peer-client-cert-auth".into(),
        "--log-level=warn".into(),
    ]
}

/// Apiserver, scheduler and controller-manager, which listen on one address each.
fn start_control_plane(
    start: &Start<'_>,
    pki: &Path,
    namespace: &str,
    suffix: &str,
    address: &str,
) -> anyhow::Result<ControlPlane> {
    let at = |port: u16| format!("{address}:{port}");
    let name = |component: &str| format!("{component}{suffix}");
    Ok(ControlPlane {
        apiserver: start(
            &name("gantry-apiserver"),
            binary("gantry-apiserver")?,
            namespace,
            apiserver_arguments(pki, &at(6443)),
        )?,
        scheduler: start(
            &name("gantry-scheduler"),
            binary("gantry-scheduler")?,
            namespace,
            component_arguments(
                pki,
                "scheduler",
                &[("--listen", &at(10259)), ("--metrics-listen", &at(10260))],
            ),
        )?,
        controller_manager: start(
            &name("gantry-controller-manager"),
            binary("gantry-controller-manager")?,
            namespace,
            component_arguments(
                pki,
                "controller-manager",
                &[("--listen", &at(10257)), ("--cluster-cidr", "10.244.0.0/16")],
            ),
        )?,
    })
}

fn apiserver_arguments(pki: &Path, listen: &str) -> Vec<String> {
    let file = |name: &str| text(&pki.join(name));
    vec![
        format!("--listen={listen}"),
        format!("--tls-cert={}", file("apiserver/tls.crt")),
        format!("--tls-key={}", file("apiserver/tls.key")),
        format!("--client-ca={}", file("ca.crt")),
        "--etcd-endpoints=https://127.0.0.1:2379".into(),
        format!("--etcd-ca={}", file("etcd/ca.crt")),
        format!("--etcd-cert={}", file("etcd/client.crt")),
        format!("--etcd-key={}", file("etcd/client.key")),
        format!("--kubelet-client-cert={}", file("apiserver/kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("apiserver/kubelet-client.key")),
    ]
}

fn component_arguments(pki: &Path, name: &str, more: &[(&str, &str)]) -> Vec<String> {
    let file = |file: &str| text(&pki.join(name).join(file));
    let mut arguments = vec![
        format!("--kubeconfig={}", file("kubeconfig")),
        format!("--tls-cert={}", file("tls.crt")),
        format!("--tls-key={}", file("tls.key")),
        format!("--ca={}", text(&pki.join("ca.crt"))),
    ];
    arguments.extend(more.iter().map(|(flag, value)| format!("{flag}={value}")));
    arguments
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// One of our binaries: built into the folder of the calling program, or the one above it for a test.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let mut places = program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name));
    places.find(|path| path.is_file()).with_context(|| {
        format!(
            "{name} is missing beside {}: run cargo build --workspace --bins",
            program.display()
        )
    })
}

fn program(name: &str, install: &str) -> anyhow::Result<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.exists());
    found.with_context(|| format!("{name} is not installed: run {install}"))
}

fn pause_image() -> anyhow::Result<PathBuf> {
    let path = root().join("target/images/pause.tar");
    if !path.exists() {
        bail!("{} is missing: run scripts/build-images.sh", path.display());
    }
    Ok(path)
}

fn run(program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "{} {}: {}",
            program.display(),
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
