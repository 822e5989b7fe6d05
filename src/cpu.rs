//! Cores and threads: which cores we may use, pinning, CPU time, and who yields to whom.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::time::{ClockId, clock_gettime};

use crate::limits::MAX_CPUS;
use crate::net::sys;

/// The cores the calling thread may run on, ascending: what `taskset`, a cpuset or a container
/// left us, which may be fewer than the machine has.
///
/// # Panics
///
/// If the kernel was built for more than [`MAX_CPUS`] CPUs.
#[must_use]
pub fn available_cores() -> Vec<usize> {
    let mask = sys::affinity().expect("limits::MAX_CPUS covers the CPUs of this kernel");
    (0..MAX_CPUS).filter(|core| mask[core / 64] >> (core % 64) & 1 == 1).collect()
}

/// Keeps the calling thread on `core` from now on.
///
/// # Errors
///
/// `EINVAL` when the core does not exist or is not ours to use.
pub fn pin_current_thread(core: usize) -> io::Result<()> {
    let mut mask = [0u64; sys::CPU_MASK_WORDS];
    let word = mask.get_mut(core / 64).ok_or(io::ErrorKind::InvalidInput)?;
    *word = 1 << (core % 64);
    sys::set_affinity(&mask)
}

/// CPU time the calling thread has used, in user and kernel mode. Differences are what one wants.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    clock(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time all threads of the process have used.
#[must_use]
pub fn process_cpu_time() -> Duration {
    clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: ClockId) -> Duration {
    clock_gettime(id).expect("Linux has had the clocks of CPU time since 2.6.12").into()
}

/// Gives this process pages of 4 KiB only, from here on.
///
/// With transparent huge pages the kernel zeroes 2 MiB where a session needs 55 KiB: measured at
/// 2,000 joins a second, a set-up costs 22 % more CPU and a viewer 12 % more memory.
///
/// # Errors
///
/// `EINVAL` on a kernel without them, where nothing is lost.
pub fn disable_huge_pages() -> io::Result<()> {
    Ok(prctl::set_thp_disable(true)?)
}

/// Lets the calling thread sleep as long as it asks for and no longer: the kernel otherwise adds up
/// to 50 µs, so that several timers may end at once.
///
/// # Errors
/// Those of prctl(2).
pub fn sleep_exactly() -> io::Result<()> {
    // In nanoseconds; 0 would mean the default.
    Ok(prctl::set_timerslack(1)?)
}

/// Sets the nice value of the calling thread alone, -20 (first) to 19 (last), so that control
/// threads yield to shards.
///
/// # Errors
///
/// `EACCES` when a lower value needs a privilege we lack.
pub fn set_current_thread_nice(nice: i32) -> io::Result<()> {
    sys::set_thread_priority(nice)
}

/// How busy one thread is, seen from another, at no cost to the thread.
#[derive(Debug)]
pub struct ThreadLoad {
    /// `/proc/PID/task/TID/schedstat`: nanoseconds on a core, nanoseconds waiting for one.
    file: File,
    last: Option<(Instant, [u64; 2])>,
}

impl ThreadLoad {
    /// That of the calling thread, from here on.
    ///
    /// # Errors
    ///
    /// Those of open(2): a kernel without `CONFIG_SCHED_INFO`, or no `/proc`.
    pub fn of_current_thread() -> io::Result<ThreadLoad> {
        let thread = std::fs::read_link("/proc/thread-self")?;
        let path: PathBuf =
            ["/proc".as_ref(), thread.as_path(), "schedstat".as_ref()].iter().collect();
        Ok(ThreadLoad { file: File::open(path)?, last: None })
    }

    /// How much it ran since the last call, in thousandths of the time in which it had a core or
    /// wanted none: what others took of its core is no rest. `None` the first time, and when the
    /// thread has ended.
    pub fn permille(&mut self) -> Option<u32> {
        let mut text = [0; 64];
        let length = self.file.read_at(&mut text, 0).ok()?;
        let now = (Instant::now(), times(&text[..length])?);
        let (then, [ran, waited]) = self.last.replace(now)?;
        let elapsed_ns = now.0.saturating_duration_since(then).as_nanos() as u64;
        Some(share(elapsed_ns, now.1[0].saturating_sub(ran), now.1[1].saturating_sub(waited)))
    }
}

/// The first two numbers of a line.
fn times(line: &[u8]) -> Option<[u64; 2]> {
    let mut numbers = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    Some([numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?])
}

/// `ran` in thousandths of what is left of `elapsed` without `waited`, all in nanoseconds.
fn share(elapsed: u64, ran: u64, waited: u64) -> u32 {
    // The counts move when the scheduler looks, not when we do: they may be ahead of the clock.
    let could = elapsed.saturating_sub(waited).max(ran).max(1);
    (u128::from(ran) * 1_000 / u128::from(could)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_core() {
        let cores = available_cores();
        let last = *cores.last().expect("this thread runs somewhere");
        // On a thread of its own, so that the other tests keep their cores.
        let seen = std::thread::spawn(move || {
            pin_current_thread(last).unwrap();
            available_cores()
        });
        assert_eq!(seen.join().unwrap(), [last]);
        assert!(pin_current_thread(MAX_CPUS).is_err());
        assert_eq!(available_cores(), cores, "a failure changes nothing");
    }

    #[test]
    fn work_takes_cpu_time() {
        let (thread, process) = (thread_cpu_time(), process_cpu_time());
        let mut sum = 0u64;
        while thread_cpu_time() == thread {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(process_cpu_time() > process);
    }

    #[test]
    fn load_is_the_part_of_the_time_a_thread_could_have_run() {
        assert_eq!(times(b"12 34 5\n"), Some([12, 34]));
        assert_eq!((times(b"12"), times(b"x y"), times(b"")), (None, None, None));
        assert_eq!(share(1_000, 250, 0), 250);
        assert_eq!(share(1_000, 250, 500), 500, "half of the time others had the core");
        assert_eq!(share(1_000, 250, 750), 1_000, "it never slept");
        assert_eq!((share(1_000, 1_001, 0), share(0, 0, 7)), (1_000, 0));
    }

    #[test]
    fn a_thread_that_spins_is_busy_and_one_that_sleeps_is_not() {
        let mut load = match ThreadLoad::of_current_thread() {
            Ok(load) => load,
            Err(error) => return eprintln!("not tested: {error}"),
        };
        assert_eq!(load.permille(), None, "there is nothing to compare with");
        let end = Instant::now() + Duration::from_millis(100);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        // The scheduler counts at its ticks.
        std::thread::sleep(Duration::from_millis(1));
        let busy = load.permille().expect("the thread lives");
        std::thread::sleep(Duration::from_millis(100));
        let calm = load.permille().expect("the thread lives");
        assert!(busy > 500 && calm < 500, "{busy} spinning, {calm} sleeping");
        let ended = std::thread::spawn(|| ThreadLoad::of_current_thread().unwrap()).join();
        assert_eq!(ended.unwrap().permille(), None);
    }

    #[test]
    fn a_thread_can_step_back() {
        std::thread::spawn(|| set_current_thread_nice(5).unwrap()).join().unwrap();
    }
}
