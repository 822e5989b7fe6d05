//! CPU time and memory of a process, from `/proc`.

use std::io;

/// The unit of CPU times in `/proc`: `USER_HZ` is 100 on every architecture Rust supports on Linux
/// (`include/asm-generic/param.h`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU, user and system, that process `pid` has used, threads that ended included.
///
/// # Errors
/// When there is no such process, or `/proc/PID/stat` has another form.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not as proc(5) has it")))
}

/// Resident memory of process `pid` in bytes.
///
/// # Errors
/// As [`cpu_seconds`].
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map(|kb| kb * 1_024).ok_or_else(|| io::Error::other("no VmRSS"))
}

/// Fields 14 and 15, `utime` and `stime`, counted behind the name, which may hold spaces.
fn parse_stat(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_fields_of_proc_5() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 5 0 0 0 250 50 3 4 20 0 9 0 100 1 2";
        assert_eq!(parse_stat(stat), Some(3.0));
        assert_eq!(parse_stat("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
    }
}
