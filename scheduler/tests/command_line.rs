//! What the program says when it cannot start.

use std::process::Command;

#[track_caller]
fn refused(configuration: &str, expected: &str) {
    let file = std::env::temp_dir().join(format!(
        "scheduler-{}-{}.yaml",
        std::process::id(),
        configuration.len()
    ));
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry-scheduler"));
    for (name, value) in [
        ("--config", file.as_path()),
        ("--kubeconfig", "/nowhere".as_ref()),
        ("--tls-cert", "/nowhere".as_ref()),
        ("--tls-key", "/nowhere".as_ref()),
        ("--ca", "/nowhere".as_ref()),
    ] {
        command.arg(name).arg(value);
    }
    let output = command.output().unwrap();
    let _ = std::fs::remove_file(&file);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(expected), "{expected:?} is not in {said}");
}

#[test]
fn a_configuration_that_is_wrong_ends_the_program_with_the_place() {
    const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
    refused(
        &format!("{HEAD}profiles: [{{plugins: {{score: {{enable: []}}}}}}]"),
        "strict decoding error: unknown field \"profiles[0].plugins.score.enable\"",
    );
    refused(
        &format!("{HEAD}parallelism: 0"),
        "parallelism: Invalid value: 0: should be an integer value greater than zero",
    );
    refused(
        &format!("{HEAD}profiles:\n- schedulerName: a\n- schedulerName: a\n"),
        "profiles[1].schedulerName: Duplicate value: \"profiles[0].schedulerName\"",
    );
    refused(&format!("{HEAD}parallelism: 1\nparallelism: 2\n"), "parallelism");
}
