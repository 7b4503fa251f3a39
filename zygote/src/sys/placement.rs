//! On which CPUs a process runs, and how far it stands back: what a command has from its client.
#![expect(unsafe_code, reason = "masks of any length, and priorities, have no wrapper")]

use nix::errno::Errno;

/// Bytes of the longest mask that is understood: 8,192 CPUs, as many as Linux may be built for.
const MASK_BYTES_MAX: usize = 1024;

/// The caller's nice value (getpriority(2)).
#[must_use]
pub fn nice() -> i8 {
    // SAFETY: integers only. It always succeeds for the caller itself.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    nice.try_into().unwrap_or(0)
}

/// The CPUs that the caller may run on, one bit each (sched_setaffinity(2)); empty where the kernel does
/// not say.
#[must_use]
pub fn cpus() -> Vec<u8> {
    let mut mask = vec![0; MASK_BYTES_MAX];
    // SAFETY: the kernel writes no more bytes than the mask has, and returns how many.
    let told =
        unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, mask.len(), mask.as_mut_ptr()) };
    mask.truncate(usize::try_from(told).unwrap_or(0));
    mask
}

/// Those of `wanted` that the caller may run on; `None` where those are all that it may run on, or none.
#[must_use]
pub fn cpus_among(wanted: &[u8]) -> Option<Vec<u8>> {
    let own = cpus();
    let wanted = wanted.iter().copied().chain(std::iter::repeat(0));
    let among: Vec<u8> = own.iter().zip(wanted).map(|(own, wanted)| own & wanted).collect();
    let none = among.iter().all(|byte| *byte == 0);
    (!none && among != own).then_some(among)
}

/// Binds the caller to these CPUs. One system call, so a vfork's child may make it.
///
/// # Errors
/// Those of sched_setaffinity(2).
pub fn run_on(mask: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads as many bytes as the mask has.
    let bound = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, mask.len(), mask.as_ptr()) };
    Errno::result(bound).map(drop)
}

/// Has the caller stand back by this nice value, if it is higher than its own. System calls only, so a
/// vfork's child may do it.
pub fn stand_back_by(nice_value: i8) {
    if nice_value > nice() {
        // SAFETY: integers only.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice_value.into()) };
    }
}

/// Lets the caller run on every CPU that its cgroup may, whatever whoever started it was bound to, and
/// gives its input and output the usual priority (taskset(1), ionice(1)).
pub fn reset() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let _ = run_on(&[u8::MAX; MASK_BYTES_MAX]);
    // SAFETY: integers only.
    unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_cut_down_to_ones_own() {
        let own = cpus();
        assert!(own.iter().any(|byte| *byte != 0), "{own:?}");
        assert_eq!(cpus_among(&own), None, "as it is");
        assert_eq!(cpus_among(&[u8::MAX; 2 * MASK_BYTES_MAX]), None, "more than there is");
        assert_eq!(cpus_among(&[]), None, "nothing is no wish");
        let first = own.iter().position(|byte| *byte != 0).unwrap();
        let one = own[first] & own[first].wrapping_neg();
        let mut wanted = vec![0; first + 1];
        wanted[first] = one;
        let among = cpus_among(&wanted);
        if own.iter().map(|byte| byte.count_ones()).sum::<u32>() > 1 {
            assert_eq!(among.as_deref().map(|mask| mask[first]), Some(one));
        } else {
            assert_eq!(among, None, "the only one");
        }
    }
}
