//! Control groups of the unified hierarchy: where ours is, and whether it is ours to divide
//! (cgroups(7), "Cgroups delegation"). Nothing is changed but a cgroup made and removed below it.

use super::child::Held;
use super::{Doing, Done, Trouble};
use crate::doctor::mountinfo;
use crate::sys::probe::clone_into_cgroup;
use crate::sys::process;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// What limits need: memory, processes, CPU.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

fn find() -> Result<PathBuf, Trouble> {
    let read = |path: &str| fs::read_to_string(path).doing(&format!("read {path}"));
    let mounts = mountinfo::parse(&read("/proc/self/mountinfo")?);
    let own = mountinfo::own_cgroup(&read("/proc/self/cgroup")?, &mounts).ok_or_else(|| {
        Trouble::with_errno(Errno::ENOENT, "no cgroup2 mount shows the own cgroup")
    })?;
    // The mount may be covered by another one.
    fs::metadata(own.join("cgroup.procs")).doing(&format!("find {}", own.display()))?;
    Ok(own)
}

pub(super) fn own() -> Done {
    Ok(find()?.display().to_string())
}

/// Only what can be told without enabling one: that would change the cgroup of whoever called.
pub(super) fn controllers() -> Done {
    let own = find()?;
    let file = own.join("cgroup.controllers");
    let text = fs::read_to_string(&file).doing(&format!("read {}", file.display()))?;
    let there: Vec<&str> = text.split_whitespace().collect();
    let absent: Vec<&str> =
        CONTROLLERS.into_iter().filter(|wanted| !there.contains(wanted)).collect();
    if !absent.is_empty() {
        let detail = format!("not in {}: {}", file.display(), absent.join(" "));
        return Err(Trouble::with_errno(Errno::ENOENT, detail));
    }
    let control = own.join("cgroup.subtree_control");
    access(&control, AccessFlags::W_OK).doing(&format!("write {}", control.display()))?;
    Ok(format!("can be enabled: {}", there.join(" ")))
}

/// A cgroup below our own, removed when it is dropped.
struct Child(PathBuf);

impl Child {
    fn make() -> Result<Self, Trouble> {
        let path = find()?.join(format!("zyg-doctor-{}", std::process::id()));
        fs::create_dir(&path).doing(&format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    fn remove(&self) -> Result<(), Trouble> {
        fs::remove_dir(&self.0).doing(&format!("remove {}", self.0.display()))
    }

    fn bear(&self) -> Result<Held, Trouble> {
        let directory = File::open(&self.0).doing(&format!("open {}", self.0.display()))?;
        let held = Held::start(
            || clone_into_cgroup(directory.as_fd()),
            &format!("clone into {}", self.0.display()),
        )?;
        let file = format!("/proc/{}/cgroup", held.pid);
        let told = fs::read_to_string(&file).doing(&format!("read {file}"))?;
        let born_there = told
            .lines()
            .filter_map(|line| line.strip_prefix("0::"))
            .any(|path| Path::new(path).file_name() == self.0.file_name());
        if !born_there {
            return Err(Trouble::plain(format!("a process was born in another cgroup: {told}")));
        }
        Ok(held)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Removed already, unless something failed: then the first failure is what is told.
        let _ = fs::remove_dir(&self.0);
    }
}

pub(super) fn child() -> Done {
    let child = Child::make()?;
    child.remove()?;
    Ok("made and removed".to_owned())
}

pub(super) fn birth() -> Done {
    let child = Child::make()?;
    let held = child.bear()?;
    process::kill(held.pidfd.as_fd()).doing("kill by pidfd")?;
    held.wait_killed()?;
    child.remove()?;
    Ok("a process was born in it".to_owned())
}

pub(super) fn kill() -> Done {
    let child = Child::make()?;
    let held = child.bear()?;
    // Since Linux 5.14.
    let kill = child.0.join("cgroup.kill");
    fs::write(&kill, "1").doing(&format!("write {}", kill.display()))?;
    held.wait_killed()?;
    child.remove()?;
    Ok("killed as a whole".to_owned())
}
