//! Zygotes whose template is gone: ended, and watched until nothing is left of them.

use super::Server;
use super::tokens::{Key, Source};
use nix::sys::socket::{Shutdown, shutdown};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Generations between the server and a zygote, and more than that: a template is in between, or
/// nobody any more.
const GENERATIONS_MAX: usize = 8;

impl Server {
    /// Ends a zygote that no template can kill, and watches for its end. One that is stopped would
    /// not see the end of its lifeline, so it is killed as well, where the server may.
    pub(super) fn destroy_orphan(&mut self, key: Key) {
        let Some(zygote) = self.pools.zygotes.get(key) else { return };
        let (slot, uid) = (zygote.slot, self.pools[zygote.pool].uid);
        let Some(reported) = &zygote.reported else {
            return match &zygote.lifeline {
                // It has not said yet who it is. It is told to end, and heard until it has.
                Some(lifeline) => drop(shutdown(lifeline.as_raw_fd(), Shutdown::Write)),
                None => self.gone(slot),
            };
        };
        // Only with authority that the template had itself, and only what it can have made: its user
        // may have taken hold of it and sent the pidfd of somebody else's process.
        let own = descends_from(reported.pidfd.as_fd(), std::process::id());
        if own == Some(true)
            && uid == self.uid
            && let Err(errno) = crate::sys::process::kill(reported.pidfd.as_fd())
        {
            log::debug!("an orphaned zygote is left to its lifeline: {errno}");
        }
        if let Some(zygote) = self.pools.zygotes.get_mut(key) {
            zygote.lifeline = None;
        }
        if own == Some(false) {
            log::error!("a template has reported a zygote that it had not made");
            return self.gone(slot);
        }
        let watched = self.pools.zygotes.get(key).and_then(|it| it.reported.as_ref());
        let watched = watched.map(|it| self.watch(&it.pidfd, Source::Remains(key)));
        match watched {
            None | Some(Ok(())) => {}
            // Ordered twice: it is watched already.
            Some(Err(error)) if error.kind() == ErrorKind::AlreadyExists => {}
            Some(Err(error)) => {
                log::error!("failed to watch an orphaned zygote: {error}");
                self.gone(slot);
            }
        }
    }

    pub(super) fn remains_gone(&mut self, key: Key) {
        let Some(zygote) = self.pools.zygotes.get(key) else { return };
        self.gone(zygote.slot);
    }
}

/// Whether what a pidfd refers to is a descendant of `ancestor`, or nothing any more; `None` where
/// that cannot be told.
///
/// The numbers on the way may be reused meanwhile: by other descendants, or the way ends elsewhere,
/// since a process whose parent has ended gets the server, a subreaper, for its parent.
fn descends_from(pidfd: BorrowedFd<'_>, ancestor: u32) -> Option<bool> {
    // pidfd_open(2), "/proc/[pid]/fdinfo/".
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let Some(mut pid) = number_after(&info, "Pid:") else { return Some(false) };
    for _ in 0..GENERATIONS_MAX {
        match pid {
            -1 => return Some(true),
            0 => return Some(false),
            found if u32::try_from(found) == Ok(ancestor) => return Some(true),
            child => {
                let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
                pid = number_after(&status, "PPid:")?;
            }
        }
    }
    Some(false)
}

/// The number in the line that begins with `name` (proc(5)); none where there is no such line.
fn number_after(lines: &str, name: &str) -> Option<i32> {
    lines.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Pid;
    use std::process::Command;

    #[test]
    fn a_child_descends_from_its_parent_and_the_parent_not_from_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let own = std::process::id();
        let of = |pid: u32| crate::sys::process::open(Pid::from_raw(pid as i32)).unwrap();
        let pidfd = of(child.id());
        assert_eq!(descends_from(pidfd.as_fd(), own), Some(true));
        assert_eq!(descends_from(of(own).as_fd(), child.id()), Some(false));
        // Whatever is no pidfd is nobody's.
        let null = fs::File::open("/dev/null").unwrap();
        assert_eq!(descends_from(null.as_fd(), own), Some(false));
        child.kill().unwrap();
        child.wait().unwrap();
        // Nothing is left that could be harmed or waited for.
        assert_eq!(descends_from(pidfd.as_fd(), own), Some(true));
    }
}
