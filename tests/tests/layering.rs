//! The layout is the architecture: which crate may depend on which, and no file that nothing includes.

use gantry_tests::cluster::root;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate may depend on of ours, tests and benches excepted, which may depend on anything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("gantry-proto", &[]),
    ("gantry-store", &[]),
    ("gantry-telemetry", &[]),
    ("gantry-client", &["gantry-proto"]),
    (
        "gantry-apiserver",
        &["gantry-store", "gantry-proto", "gantry-telemetry"],
    ),
    ("gantry-scheduler", COMPONENT),
    ("gantry-controller-manager", COMPONENT),
    ("gantry-node-agent", COMPONENT),
    ("gantry-proxy", COMPONENT),
    ("gantry-cli", COMPONENT),
];

const COMPONENT: &[&str] = &["gantry-client", "gantry-proto", "gantry-telemetry"];

/// Crates that may depend on anything.
const FREE: &[&str] = &["gantry-tests", "gantry-bench", "gantry-standalone"];

#[test]
fn crates_depend_only_on_what_the_design_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output();
    let Ok(output) = output else {
        panic!("cargo metadata did not run")
    };
    let metadata: Value = match serde_json::from_slice(&output.stdout) {
        Ok(metadata) => metadata,
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)),
    };
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    assert!(packages.len() >= ALLOWED.len(), "{} packages", packages.len());
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        if FREE.contains(&name) {
            continue;
        }
        let Some(allowed) = allowed.get(name) else {
            panic!("{name} has no row in ALLOWED")
        };
        let dependencies = package["dependencies"].as_array().cloned().unwrap_or_default();
        let ours: BTreeSet<&str> = dependencies
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|dependency| dependency.starts_with("gantry-"))
            .collect();
        for dependency in ours {
            assert!(
                allowed.contains(&dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn every_source_file_is_part_of_a_crate() {
    let mut stray = Vec::new();
    for folder in source_folders() {
        let mut files = Vec::new();
        collect(&folder, &mut files);
        let text: String = files
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .collect();
        for file in files {
            let name = file
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            let is_root =
                ["lib", "main"].contains(&name) || file.parent().is_some_and(|p| p.ends_with("bin"));
            let declared = [format!("mod {name};"), format!("mod {name} {{")]
                .iter()
                .any(|form| text.contains(form));
            let declared = declared || (name == "mod" && is_declared_folder(&file, &text));
            if !is_root && !declared {
                stray.push(file);
            }
        }
    }
    assert_eq!(stray, Vec::<PathBuf>::new(), "no `mod` declares these");
}

fn is_declared_folder(file: &Path, text: &str) -> bool {
    let folder = file
        .parent()
        .and_then(|p| p.file_name())
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    text.contains(&format!("mod {folder};"))
}

/// Each crate's `src`.
fn source_folders() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root()).into_iter().flatten().flatten();
    folders
        .map(|entry| entry.path().join("src"))
        .filter(|path| path.join("lib.rs").exists())
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
