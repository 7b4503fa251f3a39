//! Ranges of subordinate ids: granted, and mapped for real (subuid(5), newuidmap(1)).

use super::child::Held;
use super::{Doing, Done, Trouble};
use crate::sys::probe::has_file_capabilities;
use crate::sys::process::{ZYGOTE_NAMESPACES, clone_into};
use crate::users;
use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::unistd::getuid;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

/// What one environment with users of its own needs: all ids below the first that is not assigned to
/// anybody (65534 is nobody, 65535 is none).
const RANGE: u64 = 65_536;

/// Root's server maps ids itself, without anybody's grant: here the ones next to the usual ranges.
const ROOT_FIRST: u64 = 100_000;

/// A granted range: its first id and how many.
type Range = (u64, u64);

pub(super) fn granted() -> Done {
    if getuid().is_root() {
        return Ok("not needed by root, whose server maps ids itself".to_owned());
    }
    let show = |file, (first, count)| format!("{file} {first}+{count}");
    let (uids, gids) = (range("/etc/subuid")?, range("/etc/subgid")?);
    Ok(format!("{}, {}", show("uids", uids), show("gids", gids)))
}

fn range(file: &str) -> Result<Range, Trouble> {
    let text = fs::read_to_string(file).doing(&format!("read {file}"))?;
    let uid = getuid();
    let name = users::with_uid(uid.as_raw()).map(|user| user.name);
    largest(&text, &[name.unwrap_or_default(), uid.to_string()]).ok_or_else(|| {
        Trouble::with_errno(Errno::ENOENT, format!("{file} grants no range of {RANGE} ids"))
    })
}

/// The largest range of one of these names, if it is large enough.
fn largest(text: &str, names: &[String]) -> Option<Range> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        names.iter().any(|name| name == owner).then_some(range)
    };
    let ranges = text.lines().filter_map(range);
    ranges.max_by_key(|(_, count)| *count).filter(|(_, count)| *count >= RANGE)
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
    let held = Held::start(|| clone_into(ZYGOTE_NAMESPACES), "clone a zygote")?;
    let kinds = [("/etc/subuid", "uid_map", "newuidmap"), ("/etc/subgid", "gid_map", "newgidmap")];
    for (grants, file, program) in kinds {
        let map = format!("/proc/{}/{file}", held.pid);
        let first = if root { ROOT_FIRST } else { range(grants)?.0 };
        if root {
            fs::write(&map, format!("0 {first} {RANGE}")).doing(&format!("write {map}"))?;
        } else {
            ask(program, held.pid.as_raw(), first)?;
        }
        let written = fs::read_to_string(&map).doing(&format!("read {map}"))?;
        if !written.split_whitespace().eq(["0", &first.to_string(), &RANGE.to_string()]) {
            return Err(Trouble::plain(format!("{map} is not as it was written: {written:?}")));
        }
    }
    Ok(format!("{RANGE} uids and gids mapped{}", if root { "" } else { " by newuidmap" }))
}

fn ask(program: &str, pid: i32, first: u64) -> Result<(), Trouble> {
    let arguments = [pid.to_string(), "0".to_owned(), first.to_string(), RANGE.to_string()];
    let output = Command::new(program).args(arguments).output().doing(&format!("run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Trouble::with_errno(Errno::EPERM, format!("{program} refuses: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_granted_by_name_or_number() {
        let text = "other:1:99999\nme:100000:65536\n1000:300000:70000\nme:1:10\nbroken:x\n";
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            largest(text, &names)
        };
        assert_eq!(of(&["me"]), Some((100_000, 65_536)));
        assert_eq!(of(&["me", "1000"]), Some((300_000, 70_000)));
        assert_eq!(of(&["nobody"]), None);
        assert_eq!(of(&["broken"]), None);
        assert_eq!(largest("me:1:65535\n", &["me".to_owned()]), None);
    }
}
