//! What the kernel knows about this process. Names are those of Prometheus' own client libraries.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Read at each scrape.
#[derive(Debug)]
pub struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        // What cannot be read is left out.
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let process = Process::parse(
            &read("/proc/self/stat"),
            &read("/proc/self/status"),
            &read("/proc/stat"),
        );
        if let Some(process) = process {
            let mut gauge = |name, help, value: f64| write(&mut encoder, name, help, ConstGauge::new(value));
            gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                process.resident_bytes,
            )?;
            gauge(
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                process.virtual_bytes,
            )?;
            gauge("process_threads", "Number of threads", process.threads)?;
            let help = "Start time of the process since the Unix epoch in seconds";
            gauge("process_start_time_seconds", help, process.start_seconds)?;
            let help = "Total user and system CPU time spent in seconds";
            write(
                &mut encoder,
                "process_cpu_seconds",
                help,
                ConstCounter::new(process.cpu_seconds),
            )?;
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // One of the entries is the descriptor that the listing itself uses.
            let open = files.count().saturating_sub(1) as f64;
            let help = "Number of open file descriptors";
            write(&mut encoder, "process_open_fds", help, ConstGauge::new(open))?;
        }
        let limits = read("/proc/self/limits");
        if let Some(most) = limit(&limits, "Max open files") {
            let help = "Maximum number of open file descriptors";
            write(&mut encoder, "process_max_fds", help, ConstGauge::new(most))?;
        }
        if let Some(most) = limit(&limits, "Max address space") {
            let help = "Maximum amount of virtual memory available in bytes";
            write(
                &mut encoder,
                "process_virtual_memory_max_bytes",
                help,
                ConstGauge::new(most),
            )?;
        }
        if let Some((received, sent)) = network_bytes(&read("/proc/self/net/netstat")) {
            let help = "Number of bytes received by the process over the network";
            let counter = ConstCounter::new(received);
            write(&mut encoder, "process_network_receive_bytes", help, counter)?;
            let help = "Number of bytes sent by the process over the network";
            let counter = ConstCounter::new(sent);
            write(&mut encoder, "process_network_transmit_bytes", help, counter)?;
        }
        Ok(())
    }
}

fn write(encoder: &mut DescriptorEncoder, name: &str, help: &str, metric: impl EncodeMetric) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

#[derive(Debug, PartialEq)]
struct Process {
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    start_seconds: f64,
    cpu_seconds: f64,
}

/// Clock ticks per second in /proc/*/stat: USER_HZ, fixed at 100 in the kernel's interface on every
/// architecture that we build for, whatever its internal rate.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// Reads the texts of `/proc/self/stat`, `/proc/self/status` and `/proc/stat` (proc(5)).
    fn parse(stat: &str, status: &str, system: &str) -> Option<Process> {
        // The second field is the command's name in parentheses and may contain anything, so count from its end.
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // Field 3 of proc(5) is the first after the name.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot = line_value(system, "btime")?;
        Some(Process {
            resident_bytes: line_value(status, "VmRSS:")? * 1024.0,
            virtual_bytes: field(23)?,
            threads: field(20)?,
            start_seconds: boot + field(22)? / TICKS_PER_SECOND,
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
        })
    }
}

fn line_value(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The soft limit of this name in `/proc/self/limits`; -1 for `unlimited`, as Prometheus' client
/// libraries have it.
fn limit(limits: &str, name: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(-1.0),
        number => number.parse().ok(),
    }
}

/// What went in and out by IP in the process's network namespace, of `/proc/self/net/netstat`: a line of names, and one
/// of values, each after `IpExt:`.
fn network_bytes(netstat: &str) -> Option<(f64, f64)> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| {
        let number = names.split_whitespace().position(|name| name == wanted)?;
        values.split_whitespace().nth(number)?.parse::<f64>().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 3 0 1000 4096 9 1 1";
        let process = Process::parse(stat, "Name:\ta\nVmRSS:\t  12 kB\n", "cpu 1 2\nbtime 1700000000\n");
        let expected = Process {
            resident_bytes: 12288.0,
            virtual_bytes: 4096.0,
            threads: 3.0,
            start_seconds: 1_700_000_010.0,
            cpu_seconds: 2.0,
        };
        assert_eq!(process, Some(expected));
        assert_eq!(Process::parse("", "", ""), None);
    }

    #[test]
    fn limits_and_octets_are_found_by_their_names() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
            Max open files            1024                 4096                 files\n\
            Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(limit(limits, "Max address space"), Some(-1.0));
        assert_eq!(limit("", "Max open files"), None);
        let netstat = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 70 80\n";
        assert_eq!(network_bytes(netstat), Some((70.0, 80.0)));
        assert_eq!(network_bytes("IpExt: InOctets OutOctets\nIpExt: 1\n"), None);
    }
}
