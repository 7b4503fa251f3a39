//! Whose authority the template and its zygotes have.
//!
//! In the plain case the template runs as the uid that it serves, in a user namespace that maps
//! that one uid and gid to themselves: all that an unprivileged process may write, and all that is
//! needed to be the client inside as well as outside.
//!
//! With *slices* each zygote has a subordinate uid and gid that no other process of the machine has.
//! The template's user namespace maps them all, and the template puts one on right before each
//! clone. Mapping them takes root, or newuidmap(1) for what subuid(5) grants; either is done by a
//! child that stays in the outer user namespace.

use crate::failure::{At, failure};
use crate::sys;
use crate::sys::process::{self, Forked};
use crate::users;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid, getpid, getuid, setgroups, setresgid, setresuid};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;
use zyg_protocol::message::{Authority, Failure, Slices, Step};

/// Takes the authority on, and enters a user namespace of the template's own.
pub(super) fn enter(authority: &Authority) -> Result<(), Failure> {
    match &authority.slices {
        None => {
            become_user(authority)?;
            unshare(CloneFlags::CLONE_NEWUSER).at(Step::UserNamespace)?;
            write_id_maps((authority.uid, authority.gid), (authority.uid, authority.gid))
        }
        Some(slices) => enter_slices(authority, slices),
    }
}

/// Takes on the identity of the uid to be served: its groups, gid and uid, for good.
fn become_user(authority: &Authority) -> Result<(), Failure> {
    if getuid().as_raw() == authority.uid {
        return Ok(());
    }
    let subject = authority.uid.to_string();
    let groups = match &authority.user {
        Some(user) => users::groups_of(user, authority.gid),
        None => vec![authority.gid],
    };
    let groups: Vec<_> = groups.into_iter().map(Gid::from_raw).collect();
    setgroups(&groups).at_subject(Step::BecomeUser, &subject)?;
    put_on(authority.uid, authority.gid)
}

/// Changes uid and gid for good, or, with the capability in the caller's user namespace, for now.
fn put_on(uid: u32, gid: u32) -> Result<(), Failure> {
    let subject = uid.to_string();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setresgid(gid, gid, gid).at_subject(Step::BecomeUser, &subject)?;
    setresuid(uid, uid, uid).at_subject(Step::BecomeUser, &subject)?;
    // A change of uid makes /proc/self root's (PR_SET_DUMPABLE(2const)), and with it the id maps
    // that are written next.
    nix::sys::prctl::set_dumpable(true).at_subject(Step::BecomeUser, &subject)
}

fn enter_slices(authority: &Authority, slices: &Slices) -> Result<(), Failure> {
    let (mut ready, mut done) =
        (std::io::pipe().at(Step::IdMaps)?, std::io::pipe().at(Step::IdMaps)?);
    let template = getpid();
    let child = match process::fork().at(Step::IdMaps)? {
        Forked::Child => {
            drop((ready.1, done.0));
            let mut byte = [0];
            // End of file: the template has failed before there was a namespace to map.
            let mapped =
                ready.0.read_exact(&mut byte).is_ok() && map_slices(template, authority, slices);
            let _ = done.1.write_all(&[u8::from(mapped)]);
            process::exit_now(0)
        }
        Forked::Parent { child } => child,
    };
    drop((ready.0, done.1));
    // Root will not be mapped: the first slice is the template's own. And before, since all that is
    // counted for a user in the new namespace counts for the one who makes it, too, in the namespace
    // around it (`init::bounds`): that is not to be root, but nobody that there is outside.
    let own =
        || if getuid().is_root() { put_on(slices.first_uid, slices.first_gid) } else { Ok(()) };
    let entered = own().and_then(|()| unshare(CloneFlags::CLONE_NEWUSER).at(Step::UserNamespace));
    if entered.is_ok() {
        let _ = ready.1.write_all(&[1]);
    }
    drop(ready.1);
    let mut mapped = [0];
    let answered = done.0.read_exact(&mut mapped);
    let _ = nix::sys::wait::waitpid(child, None);
    entered?;
    if answered.is_err() || mapped != [1] {
        return Err(failure(
            Step::IdMaps,
            b"for subordinate ids (see subuid(5), newuidmap(1))",
            Errno::EPERM,
        ));
    }
    // Zygotes must not have the groups of whoever started the server.
    setgroups(&[]).at(Step::BecomeUser)
}

/// Writes the template's id maps from outside.
fn map_slices(template: Pid, authority: &Authority, slices: &Slices) -> bool {
    let Slices { first_uid, first_gid, count } = *slices;
    if getuid().is_root() {
        // As the one who has made the namespace: whoever has no rights over all files may write to no
        // file of another's, and one who has none over all of the machine has them over that namespace.
        if sys::privilege::take_on(Uid::from_raw(first_uid), Gid::from_raw(first_gid)).is_err() {
            return false;
        }
        let write = |file: &str, first: u32| {
            fs::write(format!("/proc/{template}/{file}"), format!("{first} {first} {count}"))
                .is_ok()
        };
        return write("uid_map", first_uid) && write("gid_map", first_gid);
    }
    let run = |program: &str, own: u32, first: u32| {
        let numbers = [own, own, 1, first, first, count].map(|number| number.to_string());
        let status = Command::new(program).arg(template.to_string()).args(numbers).status();
        status.is_ok_and(|status| status.success())
    };
    run("newuidmap", authority.uid, first_uid) && run("newgidmap", authority.gid, first_gid)
}

/// The slices of one template: each is one zygote's until nothing is left of that.
#[derive(Debug, Default)]
pub(super) struct Stock {
    slices: Slices,
    /// Those that are in use.
    used: Vec<bool>,
}

/// One uid and gid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    index: usize,
    pub uid: u32,
    pub gid: u32,
}

impl Stock {
    pub fn new(authority: &Authority) -> Self {
        let slices = authority.slices.unwrap_or_default();
        let mut used = vec![false; slices.count as usize];
        // The first one is the template's own, where it has one (see `enter_slices`).
        if let Some(first) = used.first_mut() {
            *first = true;
        }
        Self { slices, used }
    }

    /// A slice that nothing uses.
    pub fn take(&mut self) -> Option<Slice> {
        let index = self.used.iter().position(|used| !used)?;
        self.used[index] = true;
        let offset = index as u32;
        let (uid, gid) = (self.slices.first_uid + offset, self.slices.first_gid + offset);
        Some(Slice { index, uid, gid })
    }

    /// Takes one back.
    pub fn give_back(&mut self, slice: Slice) {
        self.used[slice.index] = false;
    }
}

/// Runs `act` as the slice, and returns to the template's own identity.
pub(super) fn as_slice<T>(
    slice: Slice,
    own: (u32, u32),
    act: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let result = put_on(slice.uid, slice.gid).and_then(|()| act());
    // Also after half of it.
    if let Err(failure) = put_on(own.0, own.1) {
        // Whatever is cloned from here would share a slice: never go on.
        log::error!("{failure}");
        std::process::exit(1);
    }
    result
}

/// Maps one uid and one gid of the outer user namespace, those that the caller has, to what they
/// are to be seen as (user_namespaces(7)).
pub(crate) fn write_id_maps(inside: (u32, u32), outside: (u32, u32)) -> Result<(), Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let procfs = open("/proc", flags, Mode::empty()).at_subject(Step::IdMaps, "/proc")?;
    write_id_maps_through(procfs.as_fd(), inside, outside)
}

/// The same, by this procfs, which must show the caller.
pub(crate) fn write_id_maps_through(
    procfs: BorrowedFd<'_>,
    inside: (u32, u32),
    outside: (u32, u32),
) -> Result<(), Failure> {
    let line = |inside, outside| format!("{inside} {outside} 1");
    for (file, line) in [
        (c"self/setgroups", "deny".to_owned()),
        (c"self/uid_map", line(inside.0, outside.0)),
        (c"self/gid_map", line(inside.1, outside.1)),
    ] {
        let told = sys::file::tell_at(procfs, file, line.as_bytes());
        told.at_subject(Step::IdMaps, [b"/proc/", file.to_bytes()].concat())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_used_by_one_at_a_time_and_the_first_by_none() {
        let slices = Some(Slices { first_uid: 100, first_gid: 200, count: 3 });
        let mut stock = Stock::new(&Authority { slices, ..Authority::default() });
        let (first, second) = (stock.take().unwrap(), stock.take().unwrap());
        assert_eq!([(first.uid, first.gid), (second.uid, second.gid)], [(101, 201), (102, 202)]);
        assert_eq!(stock.take(), None);
        stock.give_back(first);
        assert_eq!(stock.take(), Some(first));
    }
}
