use super::*;
use clap::CommandFactory as _;

fn refused(arguments: &str) -> String {
    let words = std::iter::once("gantry").chain(arguments.split_whitespace());
    CommandLine::try_parse_from(words)
        .expect_err(arguments)
        .to_string()
}

fn accepted(arguments: &str) {
    let words = std::iter::once("gantry").chain(arguments.split_whitespace());
    if let Err(error) = CommandLine::try_parse_from(words) {
        panic!("{arguments}: {error}");
    }
}

#[test]
fn the_command_line_is_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn what_people_type_for_kubectl_is_understood() {
    for arguments in [
        "get pods -oyaml",
        "get pods -o=wide -n kube-system",
        "-n default get pods,svc -A --show-labels",
        "get pod/web -w",
        "get -f web.yaml -o yaml",
        "rollout restart deployment/web deployment/api",
        "rollout restart deployment",
        "scale deployment/web deployment/api --replicas=2",
        "set image deployment/web deployment/api *=web:2",
        "logs web --since-time=2026-11-20T10:00:00Z --limit-bytes=100",
        "get all -lapp=web",
        "get events --field-selector involvedObject.name=web",
        "apply -f a.yaml -f b.yaml --validate=strict",
        "apply -Rf dir --dry-run=server",
        "apply -f - --validate=true",
        "delete pod web --now --wait=false",
        "delete -f web.yaml --ignore-not-found",
        "delete pods --all --grace-period=0 --force",
        "delete deploy web --cascade=orphan --timeout=30s",
        "logs -f deployment/web -c web --tail=10 --since=5m",
        "logs web --tail -1 -p",
        "logs -l app=web --all-containers --prefix",
        "rollout status deployment/web --timeout=90s",
        "rollout status deploy web --watch=false",
        "rollout undo deployment/web --to-revision=2",
        "set image deployment/web web=web:2",
        "scale --replicas=5 deployment/web --current-replicas=3",
        "label node n1 disk=ssd old- --overwrite",
        "annotate pod/web note=hi",
        "why pod/web",
        "image import hello.tar --node n1",
        "config set-context --current --namespace=web",
        "completion bash",
        "init --dir /tmp/pki --san a --san 10.0.0.1",
        "init node n1 --dir /tmp/pki --address 10.0.0.7",
        "version --client",
    ] {
        accepted(arguments);
    }
}

#[test]
fn a_mistyped_command_or_option_is_answered_with_the_right_one() {
    let check = |arguments: &str, hint: &str| {
        let text = refused(arguments);
        assert!(text.contains(hint), "{arguments}: {text}");
    };
    check("aply -f x", "'apply'");
    check("descibe pod x", "'describe'");
    check("get pods --al-namespaces", "'--all-namespaces'");
    check("rollout staus deployment/web", "'status'");
    check("get pods -o yml", "'yaml'");
    check("scale deployment/web --replicas=-1", "--replicas");
}
