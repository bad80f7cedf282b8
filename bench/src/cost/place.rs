//! The programs that are measured, each time anew.

use super::counting::counts;
use super::{Mode, START_LIMIT, traceparent};
use anyhow::Context as _;
use gantry_client::{Client, Config};
use gantry_tests::cluster::binary;
use gantry_tests::eventually;
use gantry_tests::network::{self, CONTROL_PLANE, Network};
use gantry_tests::process::Process;
use gantry_tests::traces::Collector;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::runtime::Runtime;

/// Where the spans go, in the namespace of the control plane.
pub(crate) const COLLECTOR: &str = "10.99.0.1:4317";

/// Starts the programs of each measurement in a network namespace of its own.
pub(crate) struct Place {
    pub(crate) runtime: Runtime,
    pub(crate) collector: Collector,
    pub(crate) folder: PathBuf,
    namespace: String,
    started: usize,
    _network: Network,
}

/// An etcd and programs of ours on it. Fields are dropped in their order.
pub(crate) struct Plane {
    pub(crate) scheduler: Option<Process>,
    pub(crate) apiserver: Process,
    _etcd: Process,
    pub(crate) folder: PathBuf,
    pub(crate) client: Client,
}

impl Place {
    pub(crate) fn new() -> anyhow::Result<Place> {
        let name = format!("gt{}-cost", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder)?;
        let network = Network::new(&name, 0)?;
        let namespace = network.control_plane();
        network::enter(&network::path(&namespace))?;
        let collector = Collector::start(COLLECTOR.parse()?)?;
        let server = format!("https://{CONTROL_PLANE}:6443");
        let made = Command::new(binary("gantry")?)
            .args(["init", "--dir"])
            .arg(folder.join("pki"))
            .args(["--san", &CONTROL_PLANE.to_string(), "--server", &server])
            .output()?;
        anyhow::ensure!(
            made.status.success(),
            "gantry init: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        println!("programs: {}", binary("gantry-apiserver")?.display());
        Ok(Place {
            runtime: Runtime::new().context("starting the runtime")?,
            collector,
            folder,
            namespace,
            started: 0,
            _network: network,
        })
    }

    /// etcd and the apiserver. Where `counted`, under callgrind.
    pub(crate) fn plane(&mut self, mode: Mode, counted: bool) -> anyhow::Result<Plane> {
        mode.begin();
        self.started += 1;
        let folder = self.folder.join(self.started.to_string());
        std::fs::create_dir_all(&folder)?;
        let etcd = Command::new("sh")
            .args(["-c", "command -v etcd"])
            .output()?
            .stdout;
        let etcd = PathBuf::from(String::from_utf8_lossy(&etcd).trim());
        anyhow::ensure!(
            etcd.is_file(),
            "etcd is not installed: run scripts/install-etcd.sh"
        );
        let mut etcd = Process::new(
            "etcd",
            &etcd,
            self.etcd_arguments(&folder),
            &self.namespace,
            &folder,
        );
        etcd.start()?;
        let pki = |file: &str| self.folder.join("pki").join(file).display().to_string();
        let arguments = vec![
            format!("--listen={CONTROL_PLANE}:6443"),
            format!("--tls-cert={}", pki("apiserver/tls.crt")),
            format!("--tls-key={}", pki("apiserver/tls.key")),
            format!("--client-ca={}", pki("ca.crt")),
            format!("--etcd-ca={}", pki("etcd/ca.crt")),
            format!("--etcd-cert={}", pki("etcd/client.crt")),
            format!("--etcd-key={}", pki("etcd/client.key")),
            format!("--kubelet-client-cert={}", pki("apiserver/kubelet-client.crt")),
            format!("--kubelet-client-key={}", pki("apiserver/kubelet-client.key")),
        ];
        let apiserver = self.process("gantry-apiserver", arguments, mode, counted, &folder)?;
        let plane = Plane {
            scheduler: None,
            apiserver,
            _etcd: etcd,
            folder,
            client: self.client()?,
        };
        eventually("the apiserver answers", START_LIMIT, || {
            let asked = self.runtime.block_on(plane.client.discover());
            asked.map(drop).map_err(|error| error.to_string())
        });
        Ok(plane)
    }

    pub(crate) fn add_scheduler(&self, plane: &mut Plane, mode: Mode, counted: bool) -> anyhow::Result<()> {
        let pki = |file: &str| self.folder.join("pki").join(file).display().to_string();
        let arguments = vec![
            format!("--kubeconfig={}", pki("scheduler/kubeconfig")),
            format!("--tls-cert={}", pki("scheduler/tls.crt")),
            format!("--tls-key={}", pki("scheduler/tls.key")),
            format!("--ca={}", pki("ca.crt")),
            format!("--listen={CONTROL_PLANE}:10259"),
            format!("--metrics-listen={CONTROL_PLANE}:10260"),
        ];
        plane.scheduler = Some(self.process("gantry-scheduler", arguments, mode, counted, &plane.folder)?);
        Ok(())
    }

    fn process(
        &self,
        name: &str,
        arguments: Vec<String>,
        mode: Mode,
        counted: bool,
        folder: &Path,
    ) -> anyhow::Result<Process> {
        let program = binary(name)?;
        let (program, arguments) = match counted {
            false => (program, arguments),
            true => {
                let mut all = vec![
                    "--tool=callgrind".into(),
                    format!("--callgrind-out-file={}", counts(folder, name).display()),
                    program.display().to_string(),
                ];
                all.extend(arguments);
                (PathBuf::from("/usr/bin/valgrind"), all)
            }
        };
        anyhow::ensure!(
            program.is_file(),
            "{} is missing: Debian's package valgrind has it",
            program.display()
        );
        let mut process = Process::new(name, &program, arguments, &self.namespace, folder);
        for (variable, value) in mode.environment() {
            process = process.environment(variable, &value);
        }
        if counted {
            // Workers that steal from each other do so by chance.
            process = process.environment("TOKIO_WORKER_THREADS", "1");
        }
        process.start()?;
        Ok(process)
    }

    fn etcd_arguments(&self, folder: &Path) -> Vec<String> {
        let pki = |file: &str| self.folder.join("pki/etcd").join(file).display().to_string();
        vec![
            format!("--data-dir={}", folder.join("etcd").display()),
            "--listen-client-urls=https://127.0.0.1:2379".into(),
            "--advertise-client-urls=https://127.0.0.1:2379".into(),
            "--listen-peer-urls=http://127.0.0.1:2380".into(),
            format!("--cert-file={}", pki("server.crt")),
            format!("--key-file={}", pki("server.key")),
            format!("--trusted-ca-file={}", pki("ca.crt")),
            "--client-cert-auth".into(),
            "--log-level=error".into(),
        ]
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let _entered = self.runtime.enter();
        let config = Config::load(&self.folder.join("pki/admin/kubeconfig"))?.with_trace(traceparent);
        Ok(Client::new(config)?)
    }
}
