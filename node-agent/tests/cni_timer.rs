//! The program before a CNI plugin, as a container runtime runs it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of plugins that goes away.
struct Plugins(PathBuf);

impl Plugins {
    fn new() -> Plugins {
        let folder = std::env::temp_dir().join(format!("gantry-cni-timer-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_gantry-cni"));
        for name in ["gantry-fake", "gantry-absent"] {
            std::os::unix::fs::symlink(program, folder.join(name)).unwrap();
        }
        let fake = folder.join("fake");
        let script = "#!/bin/sh\ncat\necho \"$CNI_COMMAND $CNI_IFNAME $0\"\necho why >&2\nexit 3\n";
        std::fs::write(&fake, script).unwrap();
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        Plugins(folder)
    }

    fn run(&self, name: &str, command: &str) -> Output {
        let mut plugin = Command::new(self.0.join(name))
            .env("CNI_PATH", format!("/nowhere:{}", self.0.display()))
            .env("CNI_COMMAND", command)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_UID=0b5c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = plugin.stdin.take().unwrap();
        // The program that knows no plugin does not read it.
        let _ = input.write_all(b"{\"type\": \"gantry-fake\"}\n");
        drop(input);
        plugin.wait_with_output().unwrap()
    }
}

impl Drop for Plugins {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_plugin_has_its_own_input_output_environment_and_exit_code() {
    let plugins = Plugins::new();
    for command in ["ADD", "DEL", "CHECK", "VERSION"] {
        let output = plugins.run("gantry-fake", command);
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let path = plugins.0.join("fake");
        let expected = format!(
            "{{\"type\": \"gantry-fake\"}}\n{command} eth0 {}\n",
            path.display()
        );
        assert_eq!((&*stdout, &*stderr), (&*expected, "why\n"), "{command}");
        assert_eq!(output.status.code(), Some(3), "{command}");
    }
    let output = plugins.run("gantry-absent", "ADD");
    let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["code"], 100, "{error}");
    assert!(!output.status.success());
}
