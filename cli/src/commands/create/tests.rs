use super::*;
use crate::yaml;
use clap::Parser;
use expect_test::{Expect, expect};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn described(line: &str) -> Result<Value, String> {
    let words = std::iter::once("create").chain(line.split_whitespace());
    let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
    let what = line.arguments.what.ok_or("no subcommand")?;
    let described = what.describe().map_err(|failure| failure.to_string())?;
    Ok(described.0)
}

fn check(line: &str, expected: Expect) {
    expected.assert_eq(&described(line).map_or_else(|error| error, |value| yaml::print(&value)));
}

#[test]
fn a_deployment_has_a_container_for_each_image() {
    check(
        "deployment web --image=registry.example:5000/my.app:1 --replicas=2 --port=80 -- sleep 1d",
        expect![[r#"
            apiVersion: apps/v1
            kind: Deployment
            metadata:
              labels:
                app: web
              name: web
            spec:
              replicas: 2
              selector:
                matchLabels:
                  app: web
              template:
                metadata:
                  labels:
                    app: web
                spec:
                  containers:
                  - command:
                    - sleep
                    - 1d
                    image: registry.example:5000/my.app:1
                    name: my-app
                    ports:
                    - containerPort: 80
        "#]],
    );
    check(
        "deployment web --image=a --image=b -- sleep 1d",
        expect!["error: cannot specify multiple --image options and command"],
    );
}

#[test]
fn services_have_the_type_that_is_named() {
    check(
        "service nodeport web --tcp=80:http --node-port=30080",
        expect![[r#"
            apiVersion: v1
            kind: Service
            metadata:
              labels:
                app: web
              name: web
            spec:
              ports:
              - name: 80-http
                nodePort: 30080
                port: 80
                protocol: TCP
                targetPort: http
              selector:
                app: web
              type: NodePort
        "#]],
    );
    check(
        "service externalname web --external-name=example.com",
        expect![[r#"
            apiVersion: v1
            kind: Service
            metadata:
              labels:
                app: web
              name: web
            spec:
              externalName: example.com
              selector:
                app: web
              type: ExternalName
        "#]],
    );
    check(
        "service clusterip web",
        expect!["error: at least one tcp port specifier must be provided"],
    );
    check(
        "service clusterip web --tcp=99999",
        expect![[r#"error: parsing "99999": value out of range: must be between 0 and 65535"#]],
    );
    assert!(described("service clusterip web --clusterip=None").is_ok());
}

#[test]
fn disruption_budgets_and_priority_classes_are_what_the_options_say() {
    check(
        "pdb web --selector=app=web,tier!=front --min-available=50%",
        expect![[r#"
            apiVersion: policy/v1
            kind: PodDisruptionBudget
            metadata:
              name: web
            spec:
              minAvailable: 50%
              selector:
                matchExpressions:
                - key: tier
                  operator: NotIn
                  values:
                  - front
                matchLabels:
                  app: web
        "#]],
    );
    check(
        "pdb web --selector=app=web --min-available=1 --max-unavailable=1",
        expect!["error: min-available and max-unavailable cannot be both specified"],
    );
    check(
        "pdb web --selector=app=web --min-available=10Gb",
        expect!["error: invalid format specified for min-available"],
    );
    check(
        "priorityclass high --value=1000 --global-default --description=first",
        expect![[r#"
            apiVersion: scheduling.k8s.io/v1
            description: first
            globalDefault: true
            kind: PriorityClass
            metadata:
              name: high
            preemptionPolicy: PreemptLowerPriority
            value: 1000
        "#]],
    );
}

#[test]
fn config_maps_and_secrets_are_filled_from_files_and_values() {
    let folder = crate::scratch::Folder::new("gantry-create").unwrap();
    folder.write("app.conf", "a = 1\n").unwrap();
    folder.write("vars", "# none\nA=1\nB=x=y\n").unwrap();
    let path = folder.path().display();
    check(
        &format!(
            "configmap c --from-file={path}/app.conf --from-file=k={path}/app.conf --from-literal=x=y=z"
        ),
        expect![[r#"
            apiVersion: v1
            data:
              app.conf: |
                a = 1
              k: |
                a = 1
              x: y=z
            kind: ConfigMap
            metadata:
              name: c
        "#]],
    );
    check(
        &format!("cm c --from-env-file={path}/vars"),
        expect![[r#"
            apiVersion: v1
            data:
              A: "1"
              B: x=y
            kind: ConfigMap
            metadata:
              name: c
        "#]],
    );
    check(
        "secret generic s --from-literal=user=me --type=example.com/x",
        expect![[r#"
            apiVersion: v1
            data:
              user: bWU=
            kind: Secret
            metadata:
              name: s
            type: example.com/x
        "#]],
    );
    check(
        "secret docker-registry s --docker-username=u --docker-password=p --docker-server=r.example",
        expect![[r#"
            apiVersion: v1
            data:
              .dockerconfigjson: eyJhdXRocyI6eyJyLmV4YW1wbGUiOnsidXNlcm5hbWUiOiJ1IiwicGFzc3dvcmQiOiJwIiwiYXV0aCI6ImRUcHcifX19
            kind: Secret
            metadata:
              name: s
            type: kubernetes.io/dockerconfigjson
        "#]],
    );
    check(
        "cm c --from-literal=x",
        expect!["error: invalid literal source x, expected key=value"],
    );
    check(
        "secret generic s --from-literal=a=1 --from-literal=a=2",
        expect!["error: cannot add key a, another key by that name already exists"],
    );
    check(
        "cm c --from-file=/nonexistent",
        expect!["error: error reading /nonexistent: no such file or directory"],
    );
}

#[test]
fn a_certificate_and_the_key_of_another_are_refused() {
    let folder = crate::scratch::Folder::new("gantry-create-tls").unwrap();
    let issue = || rcgen::generate_simple_self_signed(["a.example".to_string()]).unwrap();
    let (one, other) = (issue(), issue());
    folder.write("crt", &one.cert.pem()).unwrap();
    folder.write("key", &one.signing_key.serialize_pem()).unwrap();
    folder.write("other", &other.signing_key.serialize_pem()).unwrap();
    let path = folder.path().display();
    assert_eq!(
        described(&format!("secret tls s --cert={path}/crt --key={path}/key")).unwrap()["type"],
        "kubernetes.io/tls"
    );
    check(
        &format!("secret tls s --cert={path}/crt --key={path}/other"),
        expect!["error: tls: private key does not match public key"],
    );
    check(
        &format!("secret tls s --cert={path}/key --key={path}/crt"),
        expect!["error: tls: failed to find any PEM data in certificate input"],
    );
    check("secret tls s", expect!["error: key and cert must be specified"]);
}
