//! CPU time: of the machine, and of who is measured.

use crate::Result;

/// CPU time of the machine, and of those that belong to a measurement, up to a moment; in hundredths of seconds.
#[derive(Debug, Clone, Copy)]
pub struct Jiffies {
    busy: u64,
    ours: u64,
}

impl Jiffies {
    /// Ours are these processes, this one, and its children that have ended.
    ///
    /// # Errors
    /// If one of them is not there any more.
    pub fn now(processes: &[u32]) -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        // user, nice, system, idle, iowait, irq, softirq: idle and iowait are nobody's work.
        let busy = fields.take(7).enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
        let busy = busy.filter_map(|(_, field)| field.parse::<u64>().ok()).sum();
        let mut ours = times("self", 0)? + times("self", 2)?;
        for process in processes {
            ours += times(&process.to_string(), 0)?;
        }
        Ok(Self { busy, ours })
    }

    /// Seconds of CPU time that others took meanwhile.
    pub fn foreign_since(&self, before: &Self) -> f64 {
        let (busy, ours) = (self.busy - before.busy, self.ours.saturating_sub(before.ours));
        busy.saturating_sub(ours) as f64 / 100.0
    }
}

/// Seconds of CPU time that a process has taken.
///
/// # Errors
/// If it is not there any more.
pub fn seconds_of(process: u32) -> Result<f64> {
    Ok(times(&process.to_string(), 0)? as f64 / 100.0)
}

/// utime and stime are the fields 14 and 15; two further on are those of ended children.
fn times(process: &str, skip: usize) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may have spaces.
    let (_, fields) = stat.rsplit_once(')').ok_or("no such process")?;
    Ok(fields.split_whitespace().skip(11 + skip).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}
