//! Who sits at the machine that the cluster in containers runs on, and has the files that it gave them.

use gantry_tests::cluster::{binary, root};
use gantry_tests::docker::Engine;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Administrator {
    access: PathBuf,
}

impl Administrator {
    pub fn new(access: &Path) -> Administrator {
        Administrator {
            access: access.to_path_buf(),
        }
    }

    /// What `gantry` printed, or what it complained of.
    pub fn gantry(&self, arguments: &[&str]) -> Result<String, String> {
        let program = binary("gantry").map_err(|error| format!("{error:#}"))?;
        let mut command = Command::new(program);
        command
            .env("GANTRY_CONFIG", self.access.join("kubeconfig"))
            .args(arguments);
        printed(&mut command)
    }

    /// `gantry ... -o json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let text = self.gantry(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Applies a manifest given as text.
    #[track_caller]
    pub fn apply(&self, engine: &Engine, manifest: &str) {
        let path = engine.folder().join("manifest.yaml");
        let written = std::fs::write(&path, manifest).map_err(|error| error.to_string());
        let applied = written.and_then(|()| self.gantry(&["apply", "-f", &path.to_string_lossy()]));
        assert!(applied.is_ok(), "{applied:?}");
    }

    /// grpcurl without a file of ours, at both apiservers' ports.
    pub fn lists_services_by_reflection(&self) {
        for address in ["127.0.0.1:6443", "127.0.0.1:6444"] {
            let services = self.grpcurl(&[address, "list"]);
            assert!(
                services.lines().any(|line| line == "gantry.api.v1.Resources"),
                "{services}"
            );
            let described = self.grpcurl(&[address, "describe", "gantry.api.v1.ListRequest"]);
            assert!(described.contains("message ListRequest"), "{described}");
        }
        let request =
            r#"{"resource": "deployments.apps", "namespace": "default", "name": "web", "view": "VIEW_JSON"}"#;
        let got = self.grpcurl(&["-d", request, "127.0.0.1:6443", "gantry.api.v1.Resources/Get"]);
        let got: Value = serde_json::from_str(&got).unwrap_or_default();
        assert_eq!(got["object"]["json"]["kind"], "Deployment", "{got}");
    }

    /// With the options that come before the address and what comes after it.
    #[track_caller]
    fn grpcurl(&self, arguments: &[&str]) -> String {
        let program = root().join("target/foreign/grpcurl");
        assert!(
            program.exists(),
            "{} is missing: run scripts/foreign-clients.sh",
            program.display()
        );
        let mut command = Command::new(program);
        for (option, file) in [("-cacert", "ca.crt"), ("-cert", "tls.crt"), ("-key", "tls.key")] {
            command.arg(option).arg(self.access.join(file));
        }
        match printed(command.args(arguments)) {
            Ok(text) => text,
            Err(why) => panic!("grpcurl {}: {why}", arguments.join(" ")),
        }
    }

    /// GET of a page with one parameter that may hold anything, as JSON.
    pub fn page(&self, address: &str, parameter: &str) -> Result<Value, String> {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "--max-time",
            "10",
            "--get",
            "--data-urlencode",
            parameter,
            address,
        ]);
        let text = printed(&mut command)?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }
}

fn printed(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
