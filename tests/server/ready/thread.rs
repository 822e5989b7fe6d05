//! One thread of a child held still, while its others go on: signals stop all of them, ptrace(2)
//! one. All calls about it must come from the thread that stopped it, which is the test's own.

use std::fs;
use std::io;

/// A thread that stands still until this is dropped.
pub struct Stopped {
    thread: libc::pid_t,
}

impl Stopped {
    /// Stops the thread called `name` of the process `pid`. `None` where ptrace is not allowed.
    pub fn thread_of(pid: u32, name: &str) -> Option<Stopped> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
        let named = |path: &std::path::Path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let mut paths = tasks.map(|entry| entry.expect("a thread").path());
        let path = paths.find(|path| named(path)).unwrap_or_else(|| panic!("no thread {name}"));
        let thread = path.file_name().and_then(|tid| tid.to_str()?.parse().ok());
        let thread: libc::pid_t = thread.expect("a number");
        match ptrace(libc::PTRACE_SEIZE, thread) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => return None,
            seized => seized.expect("the thread is there"),
        }
        let stopped = Stopped { thread };
        ptrace(libc::PTRACE_INTERRUPT, thread).expect("it is ours");
        wait_for_stop(thread);
        Some(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = ptrace(libc::PTRACE_DETACH, self.thread);
    }
}

fn ptrace(request: libc::c_uint, thread: libc::pid_t) -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: "For other requests" than those that read or write memory "addr and data are ignored"
    // or, for PTRACE_SEIZE, "addr must be zero" and data is a bit mask of options, of which there
    // are none.
    let result = unsafe { libc::ptrace(request, thread, nothing, nothing) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn wait_for_stop(thread: libc::pid_t) {
    let mut status = 0;
    // SAFETY: wstatus is "the int to which it points": a live local.
    let waited = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
    assert_eq!(waited, thread, "{}", io::Error::last_os_error());
}
