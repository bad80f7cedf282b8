//! Files that change all at once, as Kubernetes lays them out:
//!
//! ```text
//!   volume/..2026_11_20_13_30_00.000000001/key    the files
//!   volume/..data -> ..2026_11_20_13_30_00.000000001
//!   volume/key    -> ..data/key                   what the container reads
//! ```
//! An update writes a new folder and renames a link over `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Component, Path};
use std::time::SystemTime;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Files by their path below the volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    pub files: BTreeMap<String, PayloadFile>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PayloadFile {
    pub bytes: Vec<u8>,
    pub mode: u32,
    pub group: Option<u32>,
}

impl Payload {
    pub fn add(&mut self, path: &str, bytes: Vec<u8>, mode: u32) -> Result<(), String> {
        let is_plain = |part: Component| matches!(part, Component::Normal(_));
        if path.is_empty() || path.starts_with("..") || !Path::new(path).components().all(is_plain) {
            return Err(format!("{path:?} is not a path below the volume"));
        }
        self.files.insert(
            path.to_string(),
            PayloadFile {
                bytes,
                mode,
                group: None,
            },
        );
        Ok(())
    }

    /// As a pod's fsGroup asks for.
    pub fn readable_by(mut self, group: u32) -> Payload {
        for file in self.files.values_mut() {
            file.group = Some(group);
            file.mode |= 0o440;
        }
        self
    }

    fn top_level(&self) -> BTreeSet<&str> {
        self.files
            .keys()
            .filter_map(|path| path.split('/').next())
            .collect()
    }
}

/// Makes the volume hold the payload and nothing else. Returns without a change when it does already.
pub fn write(volume: &Path, payload: &Payload, now: SystemTime) -> io::Result<()> {
    let current = fs::read_link(volume.join(DATA)).ok();
    if current.is_some() && is_current(volume, payload)? {
        return link_top_level(volume, payload);
    }
    let folder = volume.join(folder_name(now));
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    for (path, file) in &payload.files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.bytes)?;
        if file.group.is_some() {
            chown(&path, None, file.group)?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    remove_link(&volume.join(NEW_DATA))?;
    symlink(folder.file_name().unwrap_or_default(), volume.join(NEW_DATA))?;
    fs::rename(volume.join(NEW_DATA), volume.join(DATA))?;
    link_top_level(volume, payload)?;
    match current {
        Some(old) => fs::remove_dir_all(volume.join(old)),
        None => Ok(()),
    }
}

fn folder_name(now: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(now).unwrap_or_default();
    format!("..{}", time.strftime("%Y_%m_%d_%H_%M_%S.%9f"))
}

fn is_current(volume: &Path, payload: &Payload) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    list(&volume.join(DATA), "", &mut found)?;
    if !found.iter().eq(payload.files.keys()) {
        return Ok(false);
    }
    for (path, file) in &payload.files {
        let path = volume.join(DATA).join(path);
        let mode = fs::metadata(&path)?.permissions().mode() & 0o7777;
        if mode != file.mode || fs::read(&path)? != file.bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.insert(name);
        }
    }
    Ok(())
}

fn link_top_level(volume: &Path, payload: &Payload) -> io::Result<()> {
    let wanted = payload.top_level();
    for name in &wanted {
        let target = Path::new(DATA).join(name);
        let link = volume.join(name);
        if fs::read_link(&link).ok().as_deref() != Some(&target) {
            remove_link(&link)?;
            symlink(target, link)?;
        }
    }
    for entry in fs::read_dir(volume)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(name.as_str()) {
            remove_link(&volume.join(name))?;
        }
    }
    Ok(())
}

fn remove_link(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::time::{Duration, UNIX_EPOCH};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path =
                std::env::temp_dir().join(format!("gantry-atomic-writer-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn payload(files: &[(&str, &str)]) -> Payload {
        let mut payload = Payload::default();
        for (path, text) in files {
            payload.add(path, text.as_bytes().to_vec(), 0o644).unwrap();
        }
        payload
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn names(volume: &Path) -> String {
        let entries = fs::read_dir(volume)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names.join(" ")
    }

    #[test]
    fn an_update_replaces_all_files_at_once_and_leaves_nothing_behind() {
        let folder = Folder::new("update");
        write(&folder.0, &payload(&[("a", "1"), ("dir/b", "2")]), at(0)).unwrap();
        assert_eq!(names(&folder.0), "..1970_01_01_00_00_00.000000000 ..data a dir");
        assert_eq!(fs::read_to_string(folder.0.join("dir/b")).unwrap(), "2");
        write(&folder.0, &payload(&[("a", "3"), ("c", "4")]), at(1)).unwrap();
        assert_eq!(names(&folder.0), "..1970_01_01_00_00_01.000000000 ..data a c");
        assert_eq!(fs::read_to_string(folder.0.join("a")).unwrap(), "3");
    }

    #[test]
    fn the_same_payload_changes_nothing() {
        let folder = Folder::new("same");
        write(&folder.0, &payload(&[("a", "1")]), at(0)).unwrap();
        write(&folder.0, &payload(&[("a", "1")]), at(1)).unwrap();
        assert_eq!(names(&folder.0), "..1970_01_01_00_00_00.000000000 ..data a");
    }

    #[test]
    fn a_changed_mode_is_a_change() {
        let folder = Folder::new("mode");
        write(&folder.0, &payload(&[("a", "1")]), at(0)).unwrap();
        let mut private = Payload::default();
        private.add("a", b"1".to_vec(), 0o400).unwrap();
        write(&folder.0, &private, at(1)).unwrap();
        assert_eq!(
            fs::metadata(folder.0.join("a")).unwrap().permissions().mode() & 0o777,
            0o400
        );
    }

    #[test]
    fn a_path_that_leads_out_of_the_volume_is_refused() {
        for path in ["", "/a", "../a", "a/../b", "..data", "./a/.."] {
            assert!(Payload::default().add(path, Vec::new(), 0o644).is_err(), "{path}");
        }
    }
}
