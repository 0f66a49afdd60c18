//! What the kernel knows about this process, read at each scrape from /proc.

use std::fs;

/// The process as /proc shows it. A file that cannot be read leaves its fields at `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Process {
    /// Resident memory in bytes.
    pub(super) resident: Option<u64>,
    /// CPU time of user and system together, in seconds.
    pub(super) cpu: Option<f64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// Open descriptors.
    pub(super) open_fds: Option<u64>,
    /// The soft limit of descriptors; `None` when unlimited.
    pub(super) max_fds: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            resident: resident(&status),
            cpu: cpu(&stat),
            threads: field(&status, "Threads:").and_then(|value| value.parse().ok()),
            open_fds: open_fds(),
            max_fds: max_fds(&limits),
        }
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// From the status file, whose unit does not depend on the machine's page size.
fn resident(status: &str) -> Option<u64> {
    let kibibytes: u64 = field(status, "VmRSS:")?
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()?;
    kibibytes.checked_mul(1024)
}

/// Fields 14 and 15 (proc_pid_stat(5)). The second field, the program's name in parentheses, may hold anything.
fn cpu(stat: &str) -> Option<f64> {
    /// The kernel shows user space 100 ticks a second on every architecture that Rust's standard library supports.
    const TICKS: f64 = 100.0;
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user.checked_add(system)? as f64 / TICKS)
}

fn open_fds() -> Option<u64> {
    // Since Linux 6.2 the directory's size is the count, at no cost; before, it is 0 and the entries are counted.
    let directory = "/proc/self/fd";
    match fs::metadata(directory).ok()?.len() {
        0 => u64::try_from(fs::read_dir(directory).ok()?.count()).ok(),
        count => Some(count),
    }
}

fn max_fds(limits: &str) -> Option<u64> {
    field(limits, "Max open files")?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn fields_of_proc() {
        assert_eq!(
            resident("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t7\n"),
            Some(1_263_616)
        );
        assert_eq!(resident("Name: x\n"), None);
        let stat = "42 (any) (pop) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 7 0 100 0 0";
        assert_eq!(cpu(stat), Some(2.0));
        assert_eq!(cpu("42 (x"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(max_fds(limits), Some(1024));
        assert_eq!(
            max_fds("Max open files            unlimited            unlimited            files\n"),
            None
        );
    }

    #[test]
    fn this_process() {
        let process = Process::read();
        assert!(process.resident.unwrap() > 100_000);
        assert!(process.open_fds.unwrap() >= 3);
        assert!(process.threads.unwrap() >= 1);
        assert!(process.cpu.unwrap() >= 0.0);
    }
}
