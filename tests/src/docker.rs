//! A Docker Engine of the test's own, and the project's docker-compose file in it. The engine has a containerd, a
//! socket, cgroups and a network namespace of its own, so nothing of the machine's own engine is used or touched.
//! What is built is kept below `target/docker`, so that a second run builds only what has changed.

use crate::cluster::{Output, binary, root};
use crate::eventually;
use crate::network::{self, Network};
use anyhow::{Context as _, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the engine may take to start, with what an earlier run has left to look through.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a daemon may take to end after SIGTERM before it is killed.
const END_LIMIT: Duration = Duration::from_secs(30);
/// How much of a log a failing test shows.
const LOG_LINES: usize = 12;

/// A running engine. It goes away with everything that runs in it; what was built stays.
pub struct Engine {
    // Fields are dropped in this order: dockerd ends its containers through containerd, in the network.
    dockerd: Daemon,
    containerd: Daemon,
    pub network: Network,
    name: String,
    folder: PathBuf,
}

struct Daemon {
    child: Child,
    log: PathBuf,
}

/// Everything of containers that can be found: none is left when all are removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    pub containers: Vec<String>,
    pub volumes: Vec<String>,
    pub networks: Vec<String>,
    pub mounts: Vec<String>,
    pub cgroups: Vec<String>,
    pub processes: Vec<String>,
}

impl Engine {
    /// Builds the images of docker-compose.yml, and starts an engine that has them, in a network that reaches no
    /// other machine. The calling thread is moved there. `name` is short and unique among tests.
    pub fn with_images(name: &str) -> anyhow::Result<Engine> {
        let name = format!("gt{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        // Debian's mirror is reached from the machine's own network, which this engine leaves as it is.
        build_images(&name, &folder)?;
        let network = Network::new(&name, 0)?;
        let namespace = network::path(&network.control_plane());
        let (dockerd, containerd) = start(&name, &folder, Some(&namespace), &[])?;
        network::enter(&namespace)?;
        let engine = Engine {
            dockerd,
            containerd,
            network,
            name,
            folder,
        };
        engine.remove_all();
        Ok(engine)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the administrator's files are.
    pub fn access(&self) -> PathBuf {
        self.folder.join("access")
    }

    /// Runs docker with these arguments.
    pub fn docker(&self, arguments: &[&str]) -> Output {
        output(docker_command(&self.folder).args(arguments))
    }

    /// Runs docker-compose on the project, without what must be pulled.
    pub fn compose(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("docker-compose");
        command
            .args(["-f", "docker-compose.yml", "-f", "deploy/compose/offline.yml"])
            .args(["--project-name", "gantry", "--ansi", "never"])
            .args(arguments)
            .current_dir(root())
            .env("DOCKER_HOST", socket(&self.folder))
            // For one call of the engine; docker-compose's own minute is short where disks are slow.
            .env("COMPOSE_HTTP_TIMEOUT", "300")
            .env("GANTRY_ACCESS", self.access());
        output(&mut command)
    }

    /// Runs docker-compose, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn must_compose(&self, arguments: &[&str]) -> String {
        let output = self.compose(arguments);
        assert!(
            output.ok,
            "docker-compose {}: {}{}",
            arguments.join(" "),
            output.stdout,
            output.stderr
        );
        output.stdout
    }

    /// Runs docker, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn must_docker(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        assert!(output.ok, "docker {}: {}", arguments.join(" "), output.stderr);
        output.stdout
    }

    /// The container of a service, running or not.
    #[track_caller]
    pub fn container(&self, service: &str) -> String {
        let label = format!("label=com.docker.compose.service={service}");
        let found = self.must_docker(&["ps", "--all", "--quiet", "--filter", &label]);
        found.trim().to_string()
    }

    /// The network namespace of a running service.
    #[track_caller]
    pub fn network_of(&self, service: &str) -> String {
        let pid = self.must_docker(&["inspect", "--format", "{{.State.Pid}}", &self.container(service)]);
        format!("/proc/{}/ns/net", pid.trim())
    }

    /// What is there of containers, volumes and the like.
    pub fn leftovers(&self) -> Leftovers {
        let lines = |arguments: &[&str]| -> Vec<String> {
            self.must_docker(arguments).lines().map(str::to_string).collect()
        };
        let custom = "type=custom";
        Leftovers {
            containers: lines(&["ps", "--all", "--format", "{{.Names}}"]),
            volumes: lines(&["volume", "ls", "--quiet"]),
            networks: lines(&["network", "ls", "--filter", custom, "--format", "{{.Name}}"]),
            mounts: mounts_below(&data().join("engine"))
                .into_iter()
                .filter(|mount| *mount != data().join("engine"))
                .map(|mount| mount.display().to_string())
                .collect(),
            cgroups: cgroup_places(&self.name)
                .iter()
                .flat_map(|place| cgroups_below(place))
                .map(|cgroup| cgroup.display().to_string())
                .collect(),
            processes: processes_below(&self.folder, &self.own_processes()),
        }
    }

    /// The ends of the logs of what runs and of the engine, for a failing test.
    fn logs(&self) -> String {
        let listed = self.compose(&["ps"]).stdout;
        let logs = self.compose(&["logs", "--no-color", "--tail", &LOG_LINES.to_string()]);
        format!(
            "{listed}\n{}\n---- dockerd\n{}",
            logs.stdout,
            self.dockerd.log_tail()
        )
    }

    /// Does the test's work. When it fails, what runs is heard first, and why it failed is said at the end, where a
    /// reader looks who has only the end of a long output.
    pub fn told_last(&self, work: impl FnOnce()) {
        let Err(failure) = catch_unwind(AssertUnwindSafe(work)) else {
            return;
        };
        eprintln!("{}", self.logs());
        let why = failure.downcast_ref::<String>().map(String::as_str);
        eprintln!(
            "\nThe test failed: {}",
            why.or(failure.downcast_ref::<&str>().copied())
                .unwrap_or("it said no reason")
        );
        resume_unwind(failure);
    }

    fn own_processes(&self) -> Vec<u32> {
        vec![self.dockerd.child.id(), self.containerd.child.id()]
    }

    /// Containers, volumes and networks; an earlier run may have been killed.
    fn remove_all(&self) {
        for (list, remove) in [
            (
                ["ps", "--all", "--quiet"].as_slice(),
                ["rm", "--force", "--volumes"].as_slice(),
            ),
            (&["volume", "ls", "--quiet"], &["volume", "rm", "--force"]),
            (
                &["network", "ls", "--quiet", "--filter", "type=custom"],
                &["network", "rm"],
            ),
        ] {
            let listed = self.docker(list).stdout;
            let found: Vec<&str> = listed.split_whitespace().collect();
            if !found.is_empty() {
                self.docker(&[remove, &found].concat());
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.remove_all();
        self.dockerd.end();
        self.containerd.end();
        clean(&self.name, &self.folder);
    }
}

impl Daemon {
    fn start(command: &mut Command, log: PathBuf) -> anyhow::Result<Daemon> {
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| {
                format!("starting {command:?} (scripts/install.sh test installs what it needs)")
            })?;
        Ok(Daemon { child, log })
    }

    fn end(&mut self) {
        let Ok(id) = i32::try_from(self.child.id()) else {
            return;
        };
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if asked.elapsed() > END_LIMIT {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// What engines keep from run to run.
fn data() -> PathBuf {
    root().join("target/docker")
}

fn socket(folder: &Path) -> String {
    format!("unix://{}", folder.join("docker.sock").display())
}

/// scripts/images.sh, as `make images` runs it.
fn build_images(name: &str, folder: &Path) -> anyhow::Result<()> {
    let (mut dockerd, mut containerd) =
        start(name, folder, None, &["--iptables=false", "--ip-forward=false"])?;
    let programs = binary("gantry")?;
    let programs = programs.parent().context("a program is in a folder")?;
    let built = output(
        Command::new(root().join("scripts/images.sh"))
            .arg(programs)
            .env("DOCKER_HOST", socket(folder)),
    );
    // Of earlier runs, which nothing refers to any more.
    output(docker_command(folder).args(["image", "prune", "--force"]));
    dockerd.end();
    containerd.end();
    clean(name, folder);
    if !built.ok {
        bail!("scripts/images.sh: {}{}", built.stdout, built.stderr);
    }
    Ok(())
}

/// containerd and dockerd, when dockerd answers. `namespace` is the path of their network; without it they are in the
/// machine's.
fn start(
    name: &str,
    folder: &Path,
    namespace: Option<&str>,
    more: &[&str],
) -> anyhow::Result<(Daemon, Daemon)> {
    fs::create_dir_all(folder)?;
    let program = |name: &str| {
        let mut command = Command::new(if namespace.is_some() { "nsenter" } else { name });
        if let Some(path) = namespace {
            command.arg(format!("--net={path}")).arg(name);
        }
        command
    };
    let option = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
    let address = folder.join("containerd.sock");
    let mut containerd = program("containerd");
    containerd.args([
        option("root", data().join("containerd")),
        option("state", folder.join("containerd")),
        option("address", address.clone()),
    ]);
    let containerd = Daemon::start(&mut containerd, folder.join("containerd.log"))?;
    eventually("containerd has its socket", START_LIMIT, || {
        address.exists().then_some(()).ok_or(containerd.log_tail())
    });
    let mut dockerd = program("/usr/sbin/dockerd");
    dockerd
        .args([
            option("data-root", data().join("engine")),
            option("exec-root", folder.join("exec")),
            option("pidfile", folder.join("docker.pid")),
            option("containerd", address),
        ])
        .args([
            format!("--host={}", socket(folder)),
            format!("--cgroup-parent=/{name}"),
        ])
        .arg("--bridge=none")
        .args(more);
    let dockerd = Daemon::start(&mut dockerd, folder.join("dockerd.log"))?;
    eventually("dockerd answers", START_LIMIT, || {
        let answered = output(docker_command(folder).arg("version"));
        answered.ok.then_some(()).ok_or(dockerd.log_tail())
    });
    Ok((dockerd, containerd))
}

fn docker_command(folder: &Path) -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", socket(folder));
    command
}

/// What the daemons leave even when they end as they should.
fn clean(name: &str, folder: &Path) {
    for place in [folder.to_path_buf(), data()] {
        // The last one mounted is the first to go.
        for mount in mounts_below(&place).into_iter().rev() {
            let _ = umount2(&mount, MntFlags::MNT_DETACH);
        }
    }
    for place in cgroup_places(name) {
        remove_cgroup(&place);
    }
    if std::env::var_os("GANTRY_TEST_KEEP").is_none() {
        let _ = fs::remove_dir_all(folder);
    }
}

fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(folder))
        .collect()
}

/// The engine's own cgroup in each hierarchy.
fn cgroup_places(name: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    hierarchies
        .map(|hierarchy| hierarchy.path().join(name))
        .chain([Path::new("/sys/fs/cgroup").join(name)])
        .collect()
}

fn cgroups_below(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// With those below it, which go first.
fn remove_cgroup(place: &Path) {
    for below in cgroups_below(place) {
        remove_cgroup(&below);
    }
    let _ = fs::remove_dir(place);
}

/// Processes whose command line names the folder, besides `known` ones.
fn processes_below(folder: &Path, known: &[u32]) -> Vec<String> {
    let folder = folder.display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| {
            let id = entry.file_name().to_string_lossy().parse::<u32>();
            id.is_ok_and(|id| !known.contains(&id))
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
        .map(|command| command.replace('\0', " "))
        .filter(|command| command.contains(&folder))
        .collect()
}

fn output(command: &mut Command) -> Output {
    match command.output() {
        Ok(output) => Output {
            ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => panic!("running {command:?} (scripts/install.sh test installs what it needs): {error}"),
    }
}
