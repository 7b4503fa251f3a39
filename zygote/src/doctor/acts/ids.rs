//! Ranges of subordinate ids: granted, and mapped for real (subuid(5), newuidmap(1)).

use super::child::Held;
use super::{Doing, Done, Trouble};
use crate::subordinate::{GIDS, LEAST, Range, UIDS, granted as granted_to};
use crate::sys::probe::has_file_capabilities;
use crate::sys::process::clone_zygote;
use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::unistd::getuid;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

/// Ids that are mapped for trial, where so many are granted: those of a login user (useradd(8)).
const RANGE: u32 = 65_536;

/// Root's server maps ids itself, without anybody's grant: here the ones next to the usual ranges.
const ROOT_FIRST: u32 = 100_000;

pub(super) fn granted() -> Done {
    if getuid().is_root() {
        return Ok("not needed by root, whose server maps ids itself".to_owned());
    }
    let show = |file, range: Range| format!("{file} {}+{}", range.first, range.count);
    let (uids, gids) = (range(UIDS)?, range(GIDS)?);
    Ok(format!("{}, {}", show("uids", uids), show("gids", gids)))
}

fn range(file: &str) -> Result<Range, Trouble> {
    granted_to(file, getuid().as_raw()).doing(&format!("read {file}"))?.ok_or_else(|| {
        Trouble::with_errno(Errno::ENOENT, format!("{file} grants no {LEAST} ids in a row"))
    })
}

pub(super) fn programs() -> Done {
    if getuid().is_root() {
        return Ok("not needed by root, whose server maps ids itself".to_owned());
    }
    let mut found = Vec::new();
    for name in ["newuidmap", "newgidmap"] {
        let path = in_path(name)
            .ok_or_else(|| Trouble::with_errno(Errno::ENOENT, format!("{name} is not in PATH")))?;
        let what = format!("look at {}", path.display());
        let mode = stat(&path).doing(&what)?;
        let program = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
        let set_user_id = mode.st_mode & libc::S_ISUID != 0 && mode.st_uid == 0;
        if !set_user_id && !has_file_capabilities(&program.doing(&what)?) {
            let detail = format!("{} has neither set-user-ID nor capabilities", path.display());
            return Err(Trouble::with_errno(Errno::EPERM, detail));
        }
        found.push(path.display().to_string());
    }
    Ok(found.join(", "))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// Maps a range in a child's user namespace, as a server would.
pub(super) fn map_range() -> Done {
    let root = getuid().is_root();
    let held = Held::start(|| clone_zygote(false), "clone a zygote")?;
    let mut counts = Vec::new();
    for (kind, grants, program) in [("uid", UIDS, "newuidmap"), ("gid", GIDS, "newgidmap")] {
        let map = format!("/proc/{}/{kind}_map", held.pid);
        let Range { first, count } =
            if root { Range { first: ROOT_FIRST, count: RANGE } } else { range(grants)? };
        let count = count.min(RANGE);
        if root {
            fs::write(&map, format!("0 {first} {count}")).doing(&format!("write {map}"))?;
        } else {
            ask(program, held.pid.as_raw(), (first, count))?;
        }
        let written = fs::read_to_string(&map).doing(&format!("read {map}"))?;
        if !written.split_whitespace().eq(["0", &first.to_string(), &count.to_string()]) {
            return Err(Trouble::plain(format!("{map} is not as it was written: {written:?}")));
        }
        counts.push(format!("{count} {kind}s"));
    }
    let by = if root { "" } else { " by newuidmap" };
    Ok(format!("{} mapped{by}", counts.join(" and ")))
}

fn ask(program: &str, pid: i32, (first, count): (u32, u32)) -> Result<(), Trouble> {
    let arguments = [pid.to_string(), "0".to_owned(), first.to_string(), count.to_string()];
    let output = Command::new(program).args(arguments).output().doing(&format!("run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Trouble::with_errno(Errno::EPERM, format!("{program} refuses: {said}")))
}
