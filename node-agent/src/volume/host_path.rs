//! hostPath's types.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// Checks that the path is what its type says, and makes what it says to make.
pub fn check(path: &str, kind: &str) -> Result<(), String> {
    let place = Path::new(path);
    match kind {
        "DirectoryOrCreate" if !place.exists() => {
            return fs::create_dir_all(place).map_err(|error| format!("{path}: {error}"));
        }
        "FileOrCreate" if !place.exists() => {
            return fs::write(place, b"").map_err(|error| format!("{path}: {error}"));
        }
        _ => {}
    }
    let found = fs::metadata(place).ok().map(|metadata| metadata.file_type());
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(test);
    let (holds, what) = match kind {
        "" => return Ok(()),
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "file"),
        "Socket" => (is(|found| found.is_socket()), "socket file"),
        "CharDevice" => (is(|found| found.is_char_device()), "character device"),
        "BlockDevice" => (is(|found| found.is_block_device()), "block device"),
        kind => {
            return Err(format!(
                "hostPath type check failed: {kind} is an invalid volume type"
            ));
        }
    };
    if holds {
        Ok(())
    } else {
        Err(format!("hostPath type check failed: {path} is not a {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_must_be_what_its_type_says() {
        for (path, kind, expected) in [
            ("/nowhere", "", Ok(())),
            ("/tmp", "Directory", Ok(())),
            (
                "/nowhere",
                "Directory",
                Err("hostPath type check failed: /nowhere is not a directory"),
            ),
            (
                "/tmp",
                "File",
                Err("hostPath type check failed: /tmp is not a file"),
            ),
            ("/dev/null", "CharDevice", Ok(())),
            (
                "/dev/null",
                "Socket",
                Err("hostPath type check failed: /dev/null is not a socket file"),
            ),
        ] {
            assert_eq!(
                check(path, kind),
                expected.map_err(str::to_string),
                "{path} {kind}"
            );
        }
    }
}
