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
        "delete pods -l app=web -A --field-selector=spec.nodeName=n1 --dry-run=client -o name",
        "delete pod web -i --ignore-not-found=false",
        "patch deploy web -p {} --type=Merge --subresource status --dry-run",
        "patch -f pod.yaml --local --patch-file p.yaml -oyaml",
        "edit deploy/web --output-patch -o json",
        "diff -Rf dir --show-secrets",
        "wait pods --all --for=condition=Ready --for=delete --timeout=-1s",
        "wait --for=jsonpath={.status.phase}=Running -f pod.yaml",
        "cordon -l disk=ssd --dry-run=server",
        "drain n1 n2 --ignore-daemonsets --delete-emptydir-data --force --grace-period=-1 --timeout=5m",
        "drain n1 --pod-selector app=web --disable-eviction --skip-wait-for-delete-timeout=10",
        "taint nodes --all a=b:NoSchedule c- --overwrite",
        "explain pods.spec --recursive --api-version=v1",
        "api-resources --namespaced=false --verbs=list,get --sort-by=name -o wide --categories all",
        "api-versions",
        "events --for pod/web --types=Warning,Normal -w -A",
        "get pods -L app,tier --sort-by .metadata.name -o jsonpath={.items[*].metadata.name}",
        "get pods -o custom-columns=A:.a --chunk-size=10 --show-managed-fields -w --output-watch-events",
        "create deployment web --image=a -r 3 --port 80 -o yaml --dry-run=client -- sleep 1d",
        "create svc nodeport web --tcp=80:8080 --node-port=30080 --save-config",
        "create -f web.yaml --dry-run=server",
        "label -f pod.yaml a=b --local -o yaml",
        "annotate pods --all a=b -A --overwrite=true --resource-version=3",
        "__complete -- get pods --sor",
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
    check("get pods -o yml", "\"yaml\"");
    check("delete pod x --casade=orphan", "'--cascade'");
    check("drian n1", "'drain'");
    check("scale deployment/web --replicas=-1", "--replicas");
}

#[test]
fn a_wrong_line_of_diff_does_not_end_as_a_difference_does() {
    let check = |line: &str, code: u8| {
        let words = line.split_whitespace().map(String::from);
        assert_eq!(refused_line(words), code, "{line}");
    };
    check("--trace diff --fil x", 2);
    check("get diff", 1);
    check("", 1);
}
