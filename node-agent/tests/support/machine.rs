//! A private corner of the machine: folders, network and mount namespaces, a containerd.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const PAUSE: &str = "gantry.local/pause:1";
const START_LIMIT: Duration = Duration::from_secs(30);

pub struct Machine {
    pub root: PathBuf,
    /// Of the pods; no other test has it.
    pub cgroup_root: String,
    containerd: Child,
}

/// Runs a test in namespaces of its own. They are the thread's, and those of the threads that it starts.
pub fn in_private_namespaces<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    // GANTRY_TEST_LOG=info shows what the agent logs. Only the first test of a process can begin it.
    let arguments = gantry_telemetry::Args {
        log_level: std::env::var("GANTRY_TEST_LOG").unwrap_or_else(|_| "off".into()),
        ..gantry_telemetry::Args::default()
    };
    let _telemetry = gantry_telemetry::init("node-agent-test", &arguments);
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("these tests need root");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

impl Machine {
    pub fn start(name: &str) -> Machine {
        for (program, package) in [
            ("containerd", "containerd"),
            ("runc", "runc"),
            ("nft", "nftables"),
            ("busybox", "busybox-static"),
        ] {
            let found = Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .output()
                .unwrap();
            assert!(
                found.status.success(),
                "{program} is missing: apt-get install {package}"
            );
        }
        assert!(
            Path::new("/usr/lib/cni/bridge").exists(),
            "apt-get install containernetworking-plugins"
        );
        let root = std::env::temp_dir().join(format!("gantry-node-agent-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let path = |name: &str| root.join(name).to_string_lossy().into_owned();
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        let config = Command::new(scripts.join("containerd-config.sh"))
            .args([
                path("containerd"),
                path("state"),
                path("containerd.sock"),
                path("net.d"),
            ])
            .output()
            .unwrap();
        assert!(config.status.success(), "{config:?}");
        fs::write(root.join("config.toml"), config.stdout).unwrap();
        run(
            &scripts.join("build-pause.sh").to_string_lossy(),
            &[&path("pause.tar")],
        );
        let log = fs::File::create(root.join("containerd.log")).unwrap();
        let containerd = Command::new("containerd")
            .args(["--config", &path("config.toml")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let cgroup_root = format!("gantry-test-{name}-{}", std::process::id());
        let machine = Machine {
            root,
            cgroup_root,
            containerd,
        };
        let deadline = Instant::now() + START_LIMIT;
        while std::os::unix::net::UnixStream::connect(machine.socket()).is_err() {
            assert!(Instant::now() < deadline, "{}", machine.containerd_log());
            std::thread::sleep(Duration::from_millis(20));
        }
        machine
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("containerd.sock")
    }

    pub fn containerd_log(&self) -> String {
        fs::read_to_string(self.root.join("containerd.log")).unwrap_or_default()
    }

    /// Shims and containers that this machine's containerd has left.
    pub fn leftovers(&self) -> Vec<i32> {
        let own = self.root.to_string_lossy().into_owned();
        let pids = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok());
        pids.filter(|pid| *pid != self.containerd.id() as i32)
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.contains("containerd-shim") && line.contains(&own)
            })
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;
        for shim in self.leftovers() {
            let children =
                fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
            }
            let _ = kill(Pid::from_raw(shim), Signal::SIGKILL);
        }
        let _ = self.containerd.kill();
        let _ = self.containerd.wait();
        gantry_node_agent::runtime::cgroup::Hierarchies::detect().remove(&format!("/{}", self.cgroup_root));
        // Mounts go with the mount namespace; what they hid goes here.
        let _ = Command::new("sh")
            .args([
                "-c",
                "grep -F \"$0/\" /proc/self/mountinfo | cut -d' ' -f5 | sort -r | xargs -r umount -l",
            ])
            .arg(&self.root)
            .status();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
