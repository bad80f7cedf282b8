//! The kernel's mounts.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Mounts a tmpfs, unless one is there. Returns whether it is new.
pub fn tmpfs(place: &Path, size_bytes: Option<i64>, mode: u32) -> io::Result<bool> {
    if mount_points()?.iter().any(|point| point == place) {
        return Ok(false);
    }
    let size = size_bytes
        .map(|bytes| format!(",size={bytes}"))
        .unwrap_or_default();
    let options = format!("mode={mode:o}{size}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options.as_str()))?;
    Ok(true)
}

/// Makes `target` show what `source` is now. What it showed before stays with the containers that have it.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    if mount_points()?.iter().any(|point| point == target) {
        let id = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino()));
        if id(source)? == id(target)? {
            return Ok(());
        }
        umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    }
    let none: Option<&str> = None;
    Ok(mount(
        Some(source),
        target,
        none,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        none,
    )?)
}

/// Unmounts all below a folder, the deepest first. Fails where something is still mounted afterwards.
pub fn unmount_below(folder: &Path) -> io::Result<()> {
    let mut points: Vec<PathBuf> = mount_points()?
        .into_iter()
        .filter(|point| point.starts_with(folder))
        .collect();
    points.sort();
    for point in points.iter().rev() {
        if umount2(point, MntFlags::UMOUNT_NOFOLLOW).is_err() {
            // Somebody still has a file open: the mount goes out of sight now and away when they close it.
            umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
        }
    }
    match mount_points()?
        .into_iter()
        .find(|point| point.starts_with(folder))
    {
        Some(point) => Err(io::Error::other(format!("{} is still mounted", point.display()))),
        None => Ok(()),
    }
}

/// Those that the calling thread sees: it may have a mount namespace of its own.
fn mount_points() -> io::Result<Vec<PathBuf>> {
    Ok(parse_mount_points(&std::fs::read_to_string(
        "/proc/thread-self/mountinfo",
    )?))
}

/// The fifth field of each line, with its octal escapes undone (proc(5)).
fn parse_mount_points(text: &str) -> Vec<PathBuf> {
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    let unescape = |point: &str| {
        ["\\040", "\\011", "\\012", "\\134"]
            .iter()
            .zip([" ", "\t", "\n", "\\"])
            .fold(point.to_string(), |text, (escape, character)| {
                text.replace(escape, character)
            })
    };
    points.map(|point| PathBuf::from(unescape(point))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_spaces_are_read() {
        let text =
            "36 35 98:0 / /a\\040b rw - ext4 /dev/x rw\n37 35 0:1 / /proc rw shared:1 - proc proc rw\n";
        assert_eq!(
            parse_mount_points(text),
            [PathBuf::from("/a b"), PathBuf::from("/proc")]
        );
    }
}
