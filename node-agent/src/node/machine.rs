//! What /proc and its like say about the machine.

use std::fs;
use std::path::Path;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    pub cpus: i64,
    pub memory_bytes: i64,
    pub storage_bytes: i64,
    pub hostname: String,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
}

impl Machine {
    /// `root_dir` is on the file system whose size counts.
    pub fn read(root_dir: &Path) -> Machine {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_string();
        let storage = nix::sys::statvfs::statvfs(root_dir)
            .map(|stat| stat.blocks().saturating_mul(stat.fragment_size()))
            .unwrap_or(0);
        let machine_id = text("/etc/machine-id");
        let system_uuid = text("/sys/class/dmi/id/product_uuid");
        Machine {
            cpus: cpus(&text("/proc/cpuinfo")),
            memory_bytes: memory_bytes(&text("/proc/meminfo")),
            storage_bytes: i64::try_from(storage).unwrap_or(i64::MAX),
            hostname: text("/proc/sys/kernel/hostname"),
            system_uuid: if system_uuid.is_empty() {
                machine_id.clone()
            } else {
                system_uuid
            },
            machine_id,
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            kernel_version: text("/proc/sys/kernel/osrelease"),
            os_image: os_image(&text("/etc/os-release")),
        }
    }
}

fn cpus(cpuinfo: &str) -> i64 {
    let count = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    i64::try_from(count.max(1)).unwrap_or(1)
}

fn memory_bytes(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok())
        .unwrap_or(0)
        * 1024
}

fn os_image(os_release: &str) -> String {
    let line = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_memory_and_system_are_read() {
        assert_eq!(cpus("processor\t: 0\nmodel name: x\nprocessor\t: 1\n"), 2);
        assert_eq!(memory_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), 2 << 20);
        assert_eq!(
            os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
    }
}
