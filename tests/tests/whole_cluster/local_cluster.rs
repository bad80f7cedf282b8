//! `make up` and `make down`, as far as they do not install and build.

use crate::sample::answers;
use gantry_tests::cluster::{binary, root, take_turn};
use gantry_tests::eventually;
use gantry_tests::network::{self, Network};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// A machine of its own, as far as its network goes, with a folder for everything that is kept in files.
struct Machine {
    network: Network,
    folder: PathBuf,
    node: String,
}

#[test]
fn make_up_serves_the_sample_and_make_down_leaves_nothing() {
    let _turn = take_turn();
    let name = format!("gt{}-local", std::process::id());
    let network = match Network::new(&name, 1) {
        Ok(network) => network,
        Err(error) => panic!("{error:#}"),
    };
    let machine = Machine {
        network,
        folder: std::env::temp_dir().join(&name),
        node: name,
    };
    std::fs::create_dir_all(machine.folder.join("home")).unwrap_or_default();

    let up = machine.script("up.sh");
    let printed = String::from_utf8_lossy(&up.stdout).into_owned();
    assert!(
        up.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&up.stderr)
    );
    assert!(
        printed.contains("deployment \"web\" successfully rolled out"),
        "{printed}"
    );
    let address = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("curl http://")?.strip_suffix('/'));
    let Some(Ok(address)) = address.map(|address| format!("{address}:80").parse()) else {
        panic!("no address is printed: {printed}")
    };
    eventually("all three pods answer", Duration::from_secs(30), || {
        let pods = answers(&machine.network(), address, 12)?;
        (pods.len() == 3).then_some(()).ok_or(format!("{pods:?}"))
    });
    let again = machine.script("up.sh");
    assert!(
        again.status.success(),
        "up is idempotent: {}",
        String::from_utf8_lossy(&again.stderr)
    );

    let down = machine.script("down.sh");
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert_eq!(machine.leftovers(), Vec::<String>::new());
    let twice = machine.script("down.sh");
    assert!(
        twice.status.success(),
        "down is idempotent: {}",
        String::from_utf8_lossy(&twice.stderr)
    );
    std::fs::remove_dir_all(&machine.folder).unwrap_or_default();
}

impl Machine {
    fn network(&self) -> String {
        network::path(&self.network.node(1))
    }

    fn script(&self, name: &str) -> Output {
        let programs = binary("gantry")
            .ok()
            .and_then(|path| path.ancestors().nth(2).map(Path::to_path_buf));
        let output = Command::new("nsenter")
            .arg(format!("--net={}", self.network()))
            .arg(root().join("scripts").join(name))
            .env("CARGO_TARGET_DIR", programs.unwrap_or_default())
            .env("GANTRY_HOME", self.folder.join("gantry"))
            .env("GANTRY_NODE", &self.node)
            .env("GANTRY_LINK", self.folder.join("link"))
            .env("HOME", self.folder.join("home"))
            .output();
        match output {
            Ok(output) => output,
            Err(error) => panic!("running scripts/{name}: {error}"),
        }
    }

    /// Everything of the cluster that can still be found.
    fn leftovers(&self) -> Vec<String> {
        let home = self.folder.join("gantry").to_string_lossy().into_owned();
        let mut found = Vec::new();
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        found.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&home))
                .map(|line| format!("mount {line}")),
        );
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            if command.contains(&home) {
                found.push(format!("process {}", command.replace('\0', " ")));
            }
        }
        for folder in std::fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let cgroup = folder.path().join("gantry").join(&self.node);
            if cgroup.exists() {
                found.push(format!("cgroup {}", cgroup.display()));
            }
        }
        if Path::new(&home).exists() {
            found.push(home);
        }
        for (what, arguments) in [
            ("link", ["ip", "-o", "link"].as_slice()),
            ("address", &["ip", "-o", "addr"]),
            ("route", &["ip", "route"]),
            ("table", &["nft", "list", "tables"]),
        ] {
            let output = Command::new("nsenter")
                .arg(format!("--net={}", self.network()))
                .args(arguments)
                .output();
            let text = output
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
                .unwrap_or_default();
            let ours = |line: &&str| {
                ["gantry", "169.254.20.10", "10.244."]
                    .iter()
                    .any(|mark| line.contains(mark))
            };
            found.extend(text.lines().filter(ours).map(|line| format!("{what} {line}")));
        }
        found
    }
}
