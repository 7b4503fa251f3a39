//! Who is there: processes held by pidfd, so that what is gone cannot be taken for somebody else.

use crate::wait_readable;
use nix::errno::Errno;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;

/// A process and all its descendants at one moment. Zygotes and their commands are among them: the
/// host sees into every pid namespace below its own.
#[derive(Debug)]
pub struct Census {
    processes: Vec<(Pid, OwnedFd)>,
}

impl Census {
    /// The descendants of `root`, itself not included.
    #[must_use]
    pub fn below(root: Pid) -> Self {
        let pids = Self::numbers_below(root).into_iter();
        // One that has ended since is none of ours to wait for.
        Self { processes: pids.filter_map(|pid| Some((pid, open(pid)?))).collect() }
    }

    /// The numbers of the descendants of `root`, without holding any of them: for more than there
    /// may be descriptors. Zombies are among them.
    #[must_use]
    pub fn numbers_below(root: Pid) -> Vec<Pid> {
        let parents = parents();
        let descends = |mut pid: i32| {
            while let Some(parent) = parents.get(&pid) {
                if *parent == root.as_raw() {
                    return true;
                }
                pid = *parent;
            }
            false
        };
        parents.keys().copied().filter(|pid| descends(*pid)).map(Pid::from_raw).collect()
    }

    /// Their numbers.
    #[must_use]
    pub fn pids(&self) -> Vec<Pid> {
        self.processes.iter().map(|(pid, _)| *pid).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Waits until every one of them has ended.
    pub fn assert_gone(self) {
        for (pid, pidfd) in self.processes {
            wait_readable(&pidfd, &format!("the end of process {pid}"));
        }
    }
}

/// Every process's parent (proc_pid_stat(5)).
fn parents() -> HashMap<i32, i32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in parentheses, may contain anything.
            let (_, rest) = stat.rsplit_once(") ")?;
            Some((pid, rest.split(' ').nth(1)?.parse().ok()?))
        })
        .collect()
}

/// A pidfd (pidfd_open(2)): readable when the process has ended.
fn open(pid: Pid) -> Option<OwnedFd> {
    match zygote::process_descriptor(pid) {
        Ok(pidfd) => Some(pidfd),
        Err(Errno::ESRCH) => None,
        // A census that leaves somebody out would find that all are gone.
        Err(errno) => panic!("failed to hold process {pid}: {errno}"),
    }
}
