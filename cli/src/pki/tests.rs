use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::*;

const SERVER: &str = "https://10.1.2.3:6443";
const YEAR_SECONDS: i64 = 365 * 24 * 60 * 60;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("gantry-pki-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Every file with its content.
    fn contents(&self) -> BTreeMap<String, String> {
        let mut contents = BTreeMap::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        let name = path.strip_prefix(&self.0).unwrap().display().to_string();
                        contents.insert(name, fs::read_to_string(&path).unwrap());
                    }
                }
            }
        }
        contents
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

fn make_cluster(folder: &Path, extra_names: &[&str]) -> anyhow::Result<Report> {
    let servers = vec![SERVER.to_string()];
    let extra_names = extra_names.iter().map(|name| name.to_string()).collect();
    let cluster = Cluster {
        servers: servers.clone(),
        extra_names,
    };
    complete(folder, Authorities::Make, &cluster.leaves(), &servers, now())
}

fn make_node(folder: &Path) -> anyhow::Result<Report> {
    let node = Node {
        name: "n1".into(),
        address: [10, 0, 0, 7].into(),
    };
    complete(
        folder,
        Authorities::Require,
        &node.leaves(),
        &[SERVER.to_string()],
        now(),
    )
}

#[test]
fn every_certificate_names_its_holder_and_is_signed_by_its_authority() {
    let folder = Folder::new("chain");
    make_cluster(&folder.0, &["api.example.com", "10.9.9.9"]).unwrap();
    make_node(&folder.0).unwrap();
    let check = |path: &str, authority: &str, subject: &str, usages: &str, names: &[&str]| {
        let (_, authority) = parse_x509_pem(folder.read(authority).as_bytes()).unwrap();
        let authority = authority.parse_x509().unwrap();
        let pem_text = folder.read(path);
        let (_, pem) = parse_x509_pem(pem_text.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        certificate
            .verify_signature(Some(authority.public_key()))
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(certificate.issuer(), authority.subject(), "{path}");
        assert_eq!(certificate.subject().to_string(), subject, "{path}");
        assert!(!certificate.is_ca() && authority.is_ca(), "{path}");
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        let found = match (usage.server_auth, usage.client_auth) {
            (true, true) => "both",
            (true, false) => "server",
            (false, true) => "client",
            (false, false) => "none",
        };
        assert_eq!(found, usages, "{path}");
        assert_eq!(files::names_of(&pem_text).unwrap(), names, "{path}");
        let seconds = 1_795_000_000;
        assert_eq!(
            certificate.validity().not_before.timestamp(),
            seconds - 3600,
            "{path}"
        );
        assert_eq!(
            certificate.validity().not_after.timestamp(),
            seconds + YEAR_SECONDS,
            "{path}"
        );
        assert_eq!(
            authority.validity().not_after.timestamp(),
            seconds + 10 * YEAR_SECONDS,
            "{path}"
        );
    };
    let apiserver = [
        "localhost",
        "127.0.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "10.96.0.1",
        "10.1.2.3",
        "api.example.com",
        "10.9.9.9",
    ];
    check(
        "apiserver/tls.crt",
        "ca.crt",
        "CN=kube-apiserver",
        "server",
        &apiserver,
    );
    let kubelet_client = "O=system:masters, CN=kube-apiserver-kubelet-client";
    check(
        "apiserver/kubelet-client.crt",
        "ca.crt",
        kubelet_client,
        "client",
        &[],
    );
    check(
        "admin/tls.crt",
        "ca.crt",
        "O=system:masters, CN=kubernetes-admin",
        "client",
        &[],
    );
    check(
        "prometheus/tls.crt",
        "ca.crt",
        "O=system:monitoring, CN=prometheus",
        "client",
        &[],
    );
    let local = |extra: &[&'static str]| [&["localhost", "127.0.0.1"], extra].concat();
    let scheduler = local(&["scheduler", "api.example.com", "10.9.9.9"]);
    check(
        "scheduler/tls.crt",
        "ca.crt",
        "CN=system:kube-scheduler",
        "both",
        &scheduler,
    );
    let manager = local(&["controller-manager", "api.example.com", "10.9.9.9"]);
    check(
        "controller-manager/tls.crt",
        "ca.crt",
        "CN=system:kube-controller-manager",
        "both",
        &manager,
    );
    let etcd = local(&["etcd", "api.example.com", "10.9.9.9"]);
    check("etcd/server.crt", "etcd/ca.crt", "CN=etcd-server", "both", &etcd);
    check(
        "etcd/client.crt",
        "etcd/ca.crt",
        "CN=kube-apiserver-etcd-client",
        "client",
        &[],
    );
    let node = local(&["n1", "10.0.0.7"]);
    check(
        "nodes/n1/tls.crt",
        "ca.crt",
        "O=system:nodes, CN=system:node:n1",
        "both",
        &node,
    );
    check(
        "nodes/n1/proxy.crt",
        "ca.crt",
        "O=system:node-proxier, CN=system:kube-proxy",
        "both",
        &node,
    );
}

#[test]
fn keys_and_kubeconfigs_are_readable_by_their_owner_only() {
    let folder = Folder::new("modes");
    make_cluster(&folder.0, &[]).unwrap();
    make_node(&folder.0).unwrap();
    for (path, content) in folder.contents() {
        let mode = fs::metadata(folder.0.join(&path)).unwrap().permissions().mode() & 0o777;
        let secret = content.contains("PRIVATE KEY") || content.contains("client-key-data");
        assert_eq!(
            secret,
            path.ends_with(".key") || path.ends_with("kubeconfig"),
            "{path}"
        );
        assert_eq!(mode & 0o077 == 0, secret, "{path}: {mode:o}");
    }
}

#[test]
fn a_kubeconfig_embeds_what_a_client_needs() {
    use base64::Engine as _;
    let folder = Folder::new("kubeconfig");
    make_cluster(&folder.0, &[]).unwrap();
    let file = crate::kubeconfig::File::read(&folder.0.join("scheduler/kubeconfig")).unwrap();
    assert_eq!(file.servers(), [SERVER]);
    let embedded = |value: &serde_json::Value| {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(value.as_str().unwrap())
            .unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let cluster = &file.value["clusters"][0]["cluster"];
    assert_eq!(
        embedded(&cluster["certificate-authority-data"]),
        folder.read("ca.crt")
    );
    let user = &file.value["users"][0]["user"];
    assert_eq!(
        embedded(&user["client-certificate-data"]),
        folder.read("scheduler/tls.crt")
    );
    assert_eq!(
        embedded(&user["client-key-data"]),
        folder.read("scheduler/tls.key")
    );
}

#[test]
fn several_servers_are_listed_in_the_cluster_extension() {
    let folder = Folder::new("servers");
    let servers: Vec<String> = [SERVER, "https://10.1.2.4:6443"].map(String::from).to_vec();
    let cluster = Cluster {
        servers: servers.clone(),
        extra_names: Vec::new(),
    };
    complete(&folder.0, Authorities::Make, &cluster.leaves(), &servers, now()).unwrap();
    let file = crate::kubeconfig::File::read(&folder.0.join("admin/kubeconfig")).unwrap();
    assert_eq!(file.servers(), servers);
    let certificate = folder.read("apiserver/tls.crt");
    assert!(
        files::names_of(&certificate)
            .unwrap()
            .contains(&"10.1.2.4".to_string())
    );
}

#[test]
fn a_second_run_changes_nothing_and_says_so() {
    let folder = Folder::new("again");
    let first = make_cluster(&folder.0, &[]).unwrap();
    let before = folder.contents();
    let second = make_cluster(&folder.0, &[]).unwrap();
    assert_eq!(folder.contents(), before);
    assert_eq!((first.kept.len(), second.made.len()), (0, 0));
    assert_eq!(
        (second.kept.len(), second.warnings),
        (first.made.len(), Vec::new())
    );
}

#[test]
fn a_folder_that_lacks_files_is_completed_with_the_keys_that_are_there() {
    let folder = Folder::new("complete");
    make_cluster(&folder.0, &[]).unwrap();
    let before = folder.contents();
    for path in ["admin/tls.crt", "admin/kubeconfig", "service-account.pub"] {
        fs::remove_file(folder.0.join(path)).unwrap();
    }
    let report = make_cluster(&folder.0, &[]).unwrap();
    assert_eq!(
        report.made,
        ["service-account.pub", "admin/tls.crt", "admin/kubeconfig"]
    );
    assert_eq!(folder.read("service-account.pub"), before["service-account.pub"]);
    assert_eq!(folder.read("admin/tls.key"), before["admin/tls.key"]);
}

#[test]
fn a_certificate_without_its_key_is_an_error_that_says_what_to_do() {
    let folder = Folder::new("keyless");
    make_cluster(&folder.0, &[]).unwrap();
    fs::remove_file(folder.0.join("ca.key")).unwrap();
    let error = make_cluster(&folder.0, &[]).unwrap_err().to_string();
    assert!(
        error.contains("ca.crt exists, but its key") && error.contains("restore the key"),
        "{error}"
    );
}

#[test]
fn a_name_that_a_kept_certificate_lacks_is_reported() {
    let folder = Folder::new("names");
    make_cluster(&folder.0, &[]).unwrap();
    let report = make_cluster(&folder.0, &["late.example.com"]).unwrap();
    let about_apiserver = report
        .warnings
        .iter()
        .find(|warning| warning.contains("apiserver/tls.crt"))
        .unwrap();
    assert!(
        about_apiserver.contains("not valid for late.example.com"),
        "{about_apiserver}"
    );
}

#[test]
fn a_node_needs_a_cluster_and_makes_none() {
    let folder = Folder::new("orphan");
    fs::create_dir_all(&folder.0).unwrap();
    let error = make_node(&folder.0).unwrap_err().to_string();
    assert!(error.contains("gantry init --dir"), "{error}");
    assert!(folder.contents().is_empty());
}
