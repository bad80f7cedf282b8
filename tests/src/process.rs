//! A component as a process: started, killed, started again, and gone when the test ends, however it ends.

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a component may take to end after SIGTERM before it is killed.
const TERM_LIMIT: Duration = Duration::from_secs(15);

pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    namespace: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// A process in a network namespace that writes to `<folder>/<name>.log`.
    pub fn new(
        name: &str,
        program: &Path,
        arguments: Vec<String>,
        namespace: &str,
        folder: &Path,
    ) -> Process {
        Process {
            name: name.into(),
            program: program.into(),
            arguments,
            environment: Vec::new(),
            namespace: namespace.into(),
            log: folder.join(format!("{name}.log")),
            child: None,
        }
    }

    pub fn environment(mut self, name: &str, value: &str) -> Process {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        // nsenter and not `ip netns exec`, which would hide /sys/fs/cgroup from containerd.
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", crate::network::path(&self.namespace)))
            .arg("--")
            .arg(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    pub fn id(&self) -> Option<i32> {
        self.child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
    }

    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL: as when the machine's memory ran out.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, as an administrator stops a service.
    pub fn stop(&mut self) {
        let Some(id) = self.id() else { return };
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > TERM_LIMIT {
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = None;
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(id) = self.id() {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The end of the log, for a failing test.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
