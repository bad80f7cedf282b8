//! What an agent that was killed left on the disk.

use gantry_proto::core::v1::Pod;
use std::io;
use std::path::Path;

/// Where archives are kept while they are imported, below the root folder.
pub const IMPORTS: &str = "imports";

/// The pods of which there are files, by what the files' names say: `log/pods/NAMESPACE_NAME_UID`, `pods/UID`.
pub fn pods(root: &Path) -> Vec<Pod> {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
    };
    let of_logs = names("log/pods").filter_map(|name| {
        let mut parts = name.splitn(3, '_');
        Some(pod(parts.next()?, parts.next()?, parts.next()?))
    });
    of_logs
        .chain(names("pods").map(|uid| pod("", "", &uid)))
        .collect()
}

fn pod(namespace: &str, name: &str, uid: &str) -> Pod {
    let mut pod = Pod::default();
    let metadata = pod.metadata_mut();
    (metadata.namespace, metadata.name, metadata.uid) = (namespace.into(), name.into(), uid.into());
    pod
}

/// No import is under way when the agent starts.
pub fn remove_imports(root: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(root.join(IMPORTS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_known_by_their_files_and_interrupted_imports_are_removed() {
        let root = std::env::temp_dir().join(format!("gantry-leftovers-{}", std::process::id()));
        for folder in ["log/pods/n_web-1_u1", "log/pods/strange", "pods/u2", IMPORTS] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let found = pods(&root);
        let text = |pod: &Pod| {
            let metadata = pod.metadata();
            format!("{}/{}/{}", metadata.namespace, metadata.name, metadata.uid)
        };
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), ["n/web-1/u1", "//u2"]);
        remove_imports(&root).unwrap();
        remove_imports(&root).unwrap();
        assert!(!root.join(IMPORTS).exists() && root.join("pods").exists());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
