//! Other programs, watched while they run: one that does not end is killed, and so is one that runs when
//! the bench is told to stop; each with all that it has started.

use super::interrupt::go_on;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long one may run.
const RUN_MAX: Duration = Duration::from_secs(10);

/// Between looks: each is work that samples would see.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The leaders of process groups that run, none of them reaped, and since when.
static RUNNING: Mutex<Vec<(Pid, Instant)>> = Mutex::new(Vec::new());

/// Runs it to its end, in a process group of its own. How long that took, and how it ended.
///
/// # Errors
/// Where it cannot be started, does not end in time, or the bench was told to stop.
pub fn run_watched(command: &mut Command) -> anyhow::Result<(Duration, ExitStatus)> {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| drop(thread::spawn(watch)));
    let start = Instant::now();
    let mut child = command.process_group(0).spawn()?;
    let group = Pid::from_raw(child.id() as i32);
    running().push((group, start));
    // Not reaped by this, so that the number is still its own while it is among those that run.
    while waitid(Id::Pid(group), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {
    }
    let took = start.elapsed();
    running().retain(|(other, _)| *other != group);
    // Whatever it has left: the number of the group is its own until it is reaped.
    let _ = killpg(group, Signal::SIGKILL);
    let status = child.wait()?;
    go_on()?;
    anyhow::ensure!(took < RUN_MAX, "it does not end within {} s", RUN_MAX.as_secs());
    Ok((took, status))
}

fn watch() {
    loop {
        thread::sleep(LOOK_EVERY);
        let stop = go_on().is_err();
        for (group, since) in running().iter() {
            if stop || since.elapsed() >= RUN_MAX {
                let _ = killpg(*group, Signal::SIGKILL);
            }
        }
    }
}

fn running() -> MutexGuard<'static, Vec<(Pid, Instant)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Stdio;

    #[test]
    fn what_it_leaves_behind_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{}", file.display());
        let start = Instant::now();
        let mut command = Command::new("sh");
        let (took, status) =
            run_watched(command.args(["-c", &script]).stdout(Stdio::null())).unwrap();
        assert!(status.success() && took < RUN_MAX);
        let pid = fs::read_to_string(file).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // It may not be reaped yet by whoever has inherited it.
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(took.max(start.elapsed()) < RUN_MAX, "{pid} lives on");
            thread::yield_now();
        }
    }

    #[test]
    fn how_it_ends_is_told() {
        let (_, status) = run_watched(Command::new("sh").args(["-c", "exit 7"])).unwrap();
        assert_eq!(status.code(), Some(7));
        assert!(run_watched(&mut Command::new("/no/such/program")).is_err());
    }
}
