//! Files that live as long as a command: what an editor edits, what a diff program compares. Only their owner can read
//! them, because they may hold secrets.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Error, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Names that are tried before one is free.
const ATTEMPTS: u32 = 1000;

/// A new file such as `/tmp/gantry-edit-123-0.yaml`, which stays.
pub fn file(prefix: &str, extension: &str, text: &str) -> std::io::Result<PathBuf> {
    free(|number| {
        let name = format!("{prefix}-{}-{number}{extension}", std::process::id());
        let path = std::env::temp_dir().join(name);
        write(&path, text).map(|()| path)
    })
}

fn free<T>(make: impl Fn(u32) -> std::io::Result<T>) -> std::io::Result<T> {
    for number in 0..ATTEMPTS {
        match make(number) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made,
        }
    }
    Err(Error::from(ErrorKind::AlreadyExists))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// A new folder, which goes away with this.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new(prefix: &str) -> std::io::Result<Folder> {
        free(|number| {
            let name = format!("{prefix}-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            DirBuilder::new().mode(0o700).create(&path)?;
            Ok(Folder { path })
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        write(&self.path.join(name), text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is the system's to clear.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
