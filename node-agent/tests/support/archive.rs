//! A docker archive of an image with busybox, made as `docker save` would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const IMAGE: &str = "gantry.local/busybox:test";

pub fn build(folder: &Path) -> PathBuf {
    let (root, image) = (folder.join("busybox-root"), folder.join("busybox-image"));
    for path in ["bin", "tmp", "etc"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::create_dir_all(&image).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    fs::copy(
        busybox.expect("apt-get install busybox-static"),
        root.join("bin/busybox"),
    )
    .unwrap();
    for tool in [
        "sh", "cat", "echo", "sleep", "ls", "env", "true", "false", "test", "httpd", "wget", "id", "mount",
    ] {
        let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(tool));
    }
    tar(&root, &image.join("layer.tar"));
    let sum = Command::new("sha256sum")
        .arg(image.join("layer.tar"))
        .output()
        .unwrap()
        .stdout;
    let digest = String::from_utf8_lossy(&sum)[..64].to_string();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin"],"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{digest}"]}}}}"#
    );
    fs::write(image.join("config.json"), config).unwrap();
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{IMAGE}"],"Layers":["layer.tar"]}}]"#);
    fs::write(image.join("manifest.json"), manifest).unwrap();
    let archive = folder.join("busybox.tar");
    tar(&image, &archive);
    archive
}

fn tar(folder: &Path, archive: &Path) {
    let status = Command::new("tar")
        .arg("-C")
        .arg(folder)
        .arg("-cf")
        .arg(archive)
        .arg(".")
        .status()
        .unwrap();
    assert!(status.success());
}
