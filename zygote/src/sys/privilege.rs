//! Giving up for good what a command must not have (capabilities(7), prctl(2)).
#![expect(unsafe_code, reason = "prctl options without a wrapper")]

use nix::errno::Errno;

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
    const VERSION_3: u32 = 0x2008_0522;
    if handed == 0 {
        return Ok(());
    }
    // capget(2): a header, then effective, permitted and inheritable, the lower 32 bits first.
    let mut header = [VERSION_3, 0];
    let mut sets = [0u32; 6];
    // SAFETY: the header and the two triples are laid out as the kernel has them for version 3.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr())
    })?;
    (sets[2], sets[5]) = (handed as u32, (handed >> 32) as u32);
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })?;
    for capability in (0..64).filter(|capability| handed & (1 << capability) != 0) {
        // SAFETY: integers only.
        let raised = unsafe {
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0)
        };
        Errno::result(raised)?;
    }
    Ok(())
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
