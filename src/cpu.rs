//! Cores and threads: which cores we may use, pinning, CPU time, and who yields to whom.

use std::io;
use std::time::Duration;

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
    sys::clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time all threads of the process have used.
#[must_use]
pub fn process_cpu_time() -> Duration {
    sys::clock(libc::CLOCK_PROCESS_CPUTIME_ID)
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
    sys::disable_huge_pages()
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
    fn a_thread_can_step_back() {
        std::thread::spawn(|| set_current_thread_nice(5).unwrap()).join().unwrap();
    }
}
