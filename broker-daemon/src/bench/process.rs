//! CPU time and memory of a process, as Linux tells them.

use std::time::Duration;

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Time on a CPU, of all threads, in user and kernel mode, since its start. In steps of 10 ms.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Bytes that it made the system write to disks; `None` where that is not told.
    pub written_bytes: Option<u64>,
    /// Bytes that it gave to write calls, those of many sockets among them.
    pub passed_bytes: Option<u64>,
}

/// Unit of the times in `/proc/*/stat`: `USER_HZ`, which is 100 on every architecture that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

impl Usage {
    /// What process `pid` has used; `None` if there is none, or no `/proc`.
    pub fn of(pid: u32) -> Option<Self> {
        Self::read(&pid.to_string())
    }

    /// What this process has used.
    pub fn own() -> Option<Self> {
        Self::read("self")
    }

    fn read(process: &str) -> Option<Self> {
        let file = |name| std::fs::read_to_string(format!("/proc/{process}/{name}")).ok();
        let io = file("io").unwrap_or_default();
        Some(Self {
            cpu: cpu(&file("stat")?)?,
            resident_bytes: resident_bytes(&file("status")?)?,
            written_bytes: number(&io, "write_bytes:"),
            passed_bytes: number(&io, "wchar:"),
        })
    }
}

/// The number in the line with this name.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// proc(5): fields 14 and 15, utime and stime. The name, field 2, may hold spaces and parentheses.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let ticks = times.next()?.parse::<u32>().ok()?.checked_add(times.next()?.parse().ok()?)?;
    Some(TICK * ticks)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_odd_names() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194304 1 2 3 4 150 50 7 8 20 0 1 0 100 0 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("12 (a"), None);
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t     12 kB\n"), Some(12 * 1024));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        let io = "rchar: 1\nwchar: 2\nwrite_bytes: 3\ncancelled_write_bytes: 4\n";
        assert_eq!((number(io, "wchar:"), number(io, "write_bytes:")), (Some(2), Some(3)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::own().unwrap().resident_bytes > 0);
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
