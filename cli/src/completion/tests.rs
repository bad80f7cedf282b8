use super::*;
use crate::CommandLine;
use clap::CommandFactory as _;

/// The words are parted by blanks, and a blank at the end begins a new one.
fn requested(line: &str) -> Request {
    let mut program = CommandLine::command();
    program.build();
    let words: Vec<String> = line.split(' ').map(String::from).collect();
    request(&program, &words)
}

/// What is wanted, in a few words.
fn wanted(line: &str) -> String {
    let request = requested(line);
    match request.wanted {
        Wanted::Files => "files".into(),
        Wanted::Nothing => "nothing".into(),
        Wanted::Names { kind, prefix } => format!("{prefix}<{}>", kind.resource),
        Wanted::Containers { pod } => format!("containers of {pod}"),
        Wanted::OneOf(all) => {
            let fits = |candidate: &Candidate| {
                let whole = format!("{}{}", request.before, candidate.0);
                whole
                    .starts_with(&format!("{}{}", request.before, request.typed))
                    .then_some(whole)
            };
            all.iter().filter_map(fits).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn commands_and_options_are_those_that_there_are() {
    let check = |line: &str, expected: &str| assert_eq!(wanted(line), expected, "{line:?}");
    check("des", "describe");
    check("ev", "events");
    check("rollout st", "status");
    check("-n x rollout un", "undo");
    check("get --show-l", "--show-labels");
    check("completion ba", "bash");
    check("__co", "");
    check("create sec", "secret");
    check("create secret t", "tls");
}

#[test]
fn types_and_names_stand_where_the_command_takes_them() {
    let check = |line: &str, expected: &str| assert_eq!(wanted(line), expected, "{line:?}");
    check("get deploym", "deployments");
    check(
        "get pods,ser",
        "pods,services pods,serviceaccounts pods,servicecidrs",
    );
    check("get pods ", "<pods>");
    check("get -o wide po w", "<pods>");
    check("get --watch pods w", "<pods>");
    check("get pod/", "pod/<pods>");
    check("get pod/a svc/", "svc/<services>");
    check("delete deploy web ", "<deployments>");
    check("rollout restart deployment ", "<deployments>");
    check("drain ", "<nodes>");
    check("taint node ", "<nodes>");
    check("logs ", "<pods>");
    check("logs deployment/", "deployment/<deployments>");
    check("get pods,svc ", "nothing");
    check("get nonsense ", "nothing");
    check(
        "explain pods.spec.containers.liv",
        "pods.spec.containers.livenessProbe",
    );
    check("image import ", "files");
}

#[test]
fn values_of_options_are_those_that_fit() {
    let check = |line: &str, expected: &str| assert_eq!(wanted(line), expected, "{line:?}");
    check("get pods -n ", "<namespaces>");
    check("get pods --namespace=ku", "<namespaces>");
    check("get pods -o w", "wide");
    check(
        "get pods --output=js",
        "--output=json --output=jsonpath --output=jsonpath-as-json --output=jsonpath-file",
    );
    check("apply -f ", "files");
    check("logs web -c ", "containers of web");
    check("patch pod a --type ", "json merge strategic");
    check("delete pod a --cascade=o", "--cascade=orphan");
    check("wait pod/a --for ", "condition= create delete jsonpath=");
    check("events --for pod/", "pod/<pods>");
}

#[test]
fn what_stands_before_says_which_cluster_and_what_is_named_already() {
    let request = requested("--kubeconfig=/k get pods -n kube-system a b ");
    assert_eq!(request.kubeconfig.as_deref(), Some("/k"));
    assert_eq!(request.namespace.as_deref(), Some("kube-system"));
    assert_eq!(request.given, ["pods", "a", "b"]);
    assert_eq!(requested("get -nx pods ").namespace.as_deref(), Some("x"));
}
