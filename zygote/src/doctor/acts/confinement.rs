//! What a command is confined by for good.

use super::{Doing, Done, Trouble};
use crate::filter::{Wanted, compile};
use crate::sys::privilege::install_filter;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::getpgid;

pub(super) fn no_new_privs() -> Done {
    prctl::set_no_new_privs().doing("set no_new_privs")?;
    if !prctl::get_no_new_privs().doing("read no_new_privs")? {
        return Err(Trouble::plain("no_new_privs is not set, although the kernel said so"));
    }
    Ok("set".to_owned())
}

/// Installs the filter that environments get, with one call more denied: a harmless one, which
/// shows that the filter is in force.
pub(super) fn seccomp() -> Done {
    let denied = Wanted { deny: vec!["getpgid".to_owned()], nesting: true, ..Wanted::default() };
    let filters = compile(&denied)
        .map_err(|error| Trouble::with_errno(Errno::EOPNOTSUPP, error.to_string()))?;
    getpgid(None).doing("ask for the process group")?;
    prctl::set_no_new_privs().doing("set no_new_privs")?;
    for filter in &filters.base {
        install_filter(filter).doing("install a system call filter")?;
    }
    match getpgid(None) {
        Err(Errno::EPERM) => Ok(format!("{} filters in force", filters.base.len())),
        other => Err(Trouble::plain(format!("a denied system call was not refused: {other:?}"))),
    }
}
