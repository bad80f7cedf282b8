//! Instructions of a running process, from valgrind's callgrind.

use anyhow::Context as _;
use gantry_tests::process::Process;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a process under callgrind executes between two moments.
pub(super) struct Counting {
    process: i32,
    counts: PathBuf,
}

impl Counting {
    pub(super) fn begin(process: &Process, folder: &Path) -> anyhow::Result<Counting> {
        let id = process.id().context("the process has ended")?;
        let counting = Counting {
            process: id,
            counts: counts(folder, process.name()),
        };
        counting.tell("zero")?;
        Ok(counting)
    }

    pub(super) fn end(self) -> anyhow::Result<f64> {
        let before = self.dumps()?.len();
        self.tell("dump")?;
        let dumps = self.dumps()?;
        let new = dumps.last().filter(|_| dumps.len() > before);
        let new = new.with_context(|| format!("callgrind wrote nothing beside {}", self.counts.display()))?;
        let text = std::fs::read_to_string(new)?;
        let totals = text.lines().filter_map(|line| line.strip_prefix("totals:"));
        let total: f64 = totals.filter_map(|total| total.trim().parse::<f64>().ok()).sum();
        anyhow::ensure!(total > 0.0, "{} has no total", new.display());
        Ok(total)
    }

    /// The files that it has written, in their order.
    fn dumps(&self) -> anyhow::Result<Vec<PathBuf>> {
        let name = self
            .counts
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let number = |path: &PathBuf| path.extension()?.to_str()?.parse::<u32>().ok();
        let mut dumps = Vec::new();
        for entry in std::fs::read_dir(self.counts.parent().unwrap_or(Path::new(".")))? {
            let path = entry?.path();
            let is_its = path
                .file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(&name));
            if is_its && number(&path).is_some() {
                dumps.push(path);
            }
        }
        dumps.sort_by_key(number);
        Ok(dumps)
    }

    /// Through vgdb, which answers when it is done.
    fn tell(&self, command: &str) -> anyhow::Result<()> {
        let told = Command::new("vgdb")
            .arg(format!("--pid={}", self.process))
            .arg(command)
            .output()
            .context("running vgdb")?;
        anyhow::ensure!(
            told.status.success(),
            "vgdb {command}: {}",
            String::from_utf8_lossy(&told.stderr)
        );
        Ok(())
    }
}

pub(super) fn counts(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("callgrind-{name}"))
}
