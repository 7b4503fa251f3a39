//! Giving up for good what a command must not have (capabilities(7), prctl(2)).
#![expect(unsafe_code, reason = "prctl options without a wrapper")]

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setresgid, setresuid};

/// Leaves in the capability bounding set only what `kept` has (one bit each), so that no program
/// executed from here on gains any other, not even one run by uid 0.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP` in the caller's user namespace.
pub fn bound_capabilities(kept: u64) -> Result<(), Errno> {
    for capability in (0..64).filter(|capability| kept & (1 << capability) == 0) {
        // SAFETY: integers only.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(result) {
            Ok(_) => {}
            // The first number that this kernel does not know ends the list.
            Err(Errno::EINVAL) if capability > 0 => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Hands these capabilities on to programs executed from here on, also to those of a uid other than
/// 0 (the ambient set, Linux 4.3). The caller's own stay as they are.
///
/// # Errors
/// `EPERM` where the caller does not have them.
pub fn hand_on_capabilities(handed: u64) -> Result<(), Errno> {
    if handed == 0 {
        return Ok(());
    }
    let mut sets = capabilities()?;
    sets.inheritable = handed;
    set_capabilities(sets)?;
    for capability in (0..64).filter(|capability| handed & (1 << capability) != 0) {
        // SAFETY: integers only.
        let raised = unsafe {
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0)
        };
        Errno::result(raised)?;
    }
    Ok(())
}

/// Runs `act` without the capabilities by which a process passes over the modes of files
/// (`CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH`, `CAP_FOWNER`).
///
/// # Errors
/// Those of capget(2) and capset(2). What cannot be got back afterwards stays away.
pub fn without_overrides<T>(act: impl FnOnce() -> T) -> Result<T, Errno> {
    const OVERRIDES: u64 = 1 << 1 | 1 << 2 | 1 << 3;
    let before = capabilities()?;
    set_capabilities(Sets { effective: before.effective & !OVERRIDES, ..before })?;
    let result = act();
    set_capabilities(before)?;
    Ok(result)
}

/// Takes on another uid and gid, and keeps the capabilities (`PR_SET_KEEPCAPS(2const)`).
///
/// # Errors
/// Those of setresgid(2), setresuid(2) and capset(2).
pub fn take_on(uid: Uid, gid: Gid) -> Result<(), Errno> {
    let before = capabilities()?;
    nix::sys::prctl::set_keepcaps(true)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    set_capabilities(before)
}

/// A thread's capability sets, one bit each.
#[derive(Debug, Clone, Copy)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

/// The header that asks for 64 bits, of the calling thread (capget(2)).
const HEADER: [u32; 2] = [0x2008_0522, 0];

fn capabilities() -> Result<Sets, Errno> {
    let mut header = HEADER;
    // Effective, permitted and inheritable: the lower 32 bits of each, then the upper ones.
    let mut raw = [0u32; 6];
    // SAFETY: the header and the two triples are laid out as the kernel has them for this version.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_capget, header.as_mut_ptr(), raw.as_mut_ptr())
    })?;
    let set = |index: usize| u64::from(raw[index]) | u64::from(raw[index + 3]) << 32;
    Ok(Sets { effective: set(0), permitted: set(1), inheritable: set(2) })
}

fn set_capabilities(sets: Sets) -> Result<(), Errno> {
    let all = [sets.effective, sets.permitted, sets.inheritable];
    let raw: [u32; 6] =
        std::array::from_fn(|index| (all[index % 3] >> if index < 3 { 0 } else { 32 }) as u32);
    // SAFETY: as for capget.
    let result = unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), raw.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Names the process as ps(1) shows it: 15 bytes at most.
pub fn set_name(name: &std::ffi::CStr) {
    // A name is decoration: a kernel that refuses it is no reason to fail.
    let _ = nix::sys::prctl::set_name(name);
}

/// Joins a fresh, empty session keyring (keyctl(2)), so that no key of the server's user can be
/// found. A kernel without keyrings (`ENOSYS`) has none to leak.
///
/// # Errors
/// That of keyctl(2), `EDQUOT` in the main.
pub fn fresh_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for an anonymous keyring.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, null) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Takes every permission from the session keyring, for good: whoever has it can neither use nor open
/// it again (keyctl(2)).
///
/// # Errors
/// That of keyctl(2).
pub fn close_keyring() -> Result<(), Errno> {
    const KEYCTL_SETPERM: libc::c_long = 5;
    const SESSION_KEYRING: libc::c_long = -3;
    const NO_PERMISSION: libc::c_long = 0;
    // SAFETY: integers only.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, SESSION_KEYRING, NO_PERMISSION) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Installs a system call filter, for good: 8 bytes an instruction (seccomp(2)).
///
/// Makes one system call and allocates nothing, so a vfork's child may call it.
///
/// # Errors
/// `EINVAL` for what is no program, `EACCES` without `no_new_privs`, `ENOMEM`.
pub fn install_filter(program: &[u8]) -> Result<(), Errno> {
    let length = u16::try_from(program.len() / size_of::<libc::sock_filter>());
    let description = libc::sock_fprog {
        len: length.map_err(|_| Errno::EINVAL)?,
        // The kernel copies it from there, and does not mind where it begins.
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the description and the program outlive the call, which only reads them.
    let result = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const description)
    };
    Errno::result(result).map(drop)
}
