//! The system call filter: what namespaces do not cover is denied (seccomp(2)).
//!
//! Compiled once per profile, by the server; installed once per template, whose zygotes and commands
//! inherit it, so that neither a zygote nor an exec pays for it. What init itself still needs, and a
//! command must not have, is in a second part that each command gets before it executes.
//!
//! A denied call fails with `EPERM`, or with `ENOSYS` where programs know what to do about a kernel
//! that lacks it. A socket of a family that is not let through fails with `EAFNOSUPPORT`.

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde_json::{Value, json};
use zyg_protocol::message::Bytes;

/// Interfaces to the whole kernel, or with a history of holes reachable without privilege.
const DENIED: [&str; 30] = [
    // Keys: not namespaced by anything but the user namespace.
    "add_key",
    "keyctl",
    "request_key",
    // The kernel's own programs and counters.
    "bpf",
    "perf_event_open",
    "lookup_dcookie",
    // Stalls the kernel in the middle of a copy: a helper of most exploits (userfaultfd(2)).
    "userfaultfd",
    // Other kernels, modules, the machine.
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "quotactl_fd",
    "iopl",
    "ioperm",
    "uselib",
    "nfsservctl",
    // The machine's clock and logs.
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "syslog",
    "vhangup",
    // Files by handle: past every mount point (CVE-2014-9357, "shocker").
    "open_by_handle_at",
    "fanotify_init",
];

/// Programs that use these fall back when the kernel does not have them.
const ABSENT: [&str; 3] = ["io_uring_setup", "io_uring_enter", "io_uring_register"];

/// Namespaces and mounts of a command's own, where a profile forbids them.
const NESTING: [&str; 13] = [
    "unshare",
    "setns",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsmount",
    "fsconfig",
    "fspick",
    "mount_setattr",
];

/// Socket families that a network namespace confines (socket(2)): local, IPv4, IPv6, netlink.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Terminal requests that put input into a terminal (ioctl_tty(2), CVE-2017-5226).
const PASTING: [u32; 2] = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32];

/// What is set for a file of the host's through a descriptor that only reads it (fcntl(2)): leases, for
/// whose end everybody waits who opens the file, 45 s if need be (`fs.lease-break-time`); and hints on
/// how long what is written lives, which stay.
const FILE_SETTINGS: [i32; 3] = [libc::F_SETLEASE, F_SET_RW_HINT, F_SET_FILE_RW_HINT];
const F_SET_RW_HINT: i32 = 1036;
const F_SET_FILE_RW_HINT: i32 = 1038;

/// The kernel's events of all processes of the machine (connector; `linux/cn_proc.h`).
const CONNECTOR: i32 = 11;

/// What a profile says about the filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// System calls to let through although they are denied by default.
    pub allow: Vec<String>,
    /// System calls to deny beside those.
    pub deny: Vec<String>,
    /// Whether commands may make user namespaces and mounts of their own.
    pub nesting: bool,
}

/// Compiled filters, each a program as the kernel wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filters {
    /// For the template and all that comes of it.
    pub base: Vec<Bytes>,
    /// For each command, beside that.
    pub command: Vec<Bytes>,
}

impl Wanted {
    /// Whether every socket of a command is of [`FAMILIES`]: not where it may have them made by a ring
    /// (`IORING_OP_SOCKET`, io_uring_enter(2)).
    pub fn confines_sockets(&self) -> bool {
        !self.allow.iter().any(|allowed| ABSENT.contains(&allowed.as_str()))
    }
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The architecture has no table of system calls here.
    #[error(
        "failed to compile a system call filter: {0} is not supported; set seccomp = \"off\" to run without one"
    )]
    Architecture(&'static str),
    /// A name in the profile is no system call's.
    #[error("seccomp: {0:?} is no system call of this machine's architecture (syscalls(2))")]
    NoSuchCall(String),
    /// The compiler refuses it for another reason.
    #[error("failed to compile the system call filter: {0}")]
    Compile(String),
}

/// Compiles the filters.
///
/// # Errors
/// See [`FilterError`].
pub(crate) fn compile(wanted: &Wanted) -> Result<Filters, FilterError> {
    let mut named = wanted.allow.iter().chain(&wanted.deny);
    if let Some(unknown) = named.find(|name| program(libc::EPERM, vec![whole(name)]).is_err()) {
        return Err(FilterError::NoSuchCall(unknown.clone()));
    }
    let kept = |names: &[&str]| -> Vec<Value> {
        let kept = names.iter().filter(|name| !wanted.allow.iter().any(|allowed| allowed == *name));
        kept.map(|name| whole(name)).collect()
    };
    let mut denied = kept(&DENIED);
    denied.extend(wanted.deny.iter().map(|name| whole(name)));
    denied.extend(PASTING.map(pasting));
    denied.push(inits_limits());
    denied.extend(FILE_SETTINGS.map(file_setting));
    let mut base = vec![foreign_abi()];
    base.push(program(libc::EPERM, denied)?);
    base.push(program(libc::ENOSYS, kept(&ABSENT))?);
    base.push(program(libc::EAFNOSUPPORT, families())?);
    let mut command = Vec::new();
    if !wanted.nesting {
        let mut nesting = kept(&NESTING);
        nesting.push(new_user_namespace());
        command.push(program(libc::EPERM, nesting)?);
        // Its flags lie in memory, where a filter cannot look; libraries fall back to clone(2).
        command.push(program(libc::ENOSYS, vec![whole("clone3")])?);
    }
    Ok(Filters { base, command })
}

fn whole(name: &str) -> Value {
    json!({ "syscall": name })
}

fn pasting(request: u32) -> Value {
    // Only the lower half: the kernel ignores the upper one of an ioctl's request (CVE-2019-10063).
    let argument = json!({ "index": 1, "type": "dword", "op": "eq", "val": request });
    json!({ "syscall": "ioctl", "args": [argument] })
}

/// The kernel lets a process limit any other of its uid (prlimit(2)): not init.
fn inits_limits() -> Value {
    let init = json!({ "index": 0, "type": "dword", "op": "eq", "val": 1 });
    let setting = json!({ "index": 2, "type": "qword", "op": "ne", "val": 0 });
    json!({ "syscall": "prlimit64", "args": [init, setting] })
}

fn file_setting(command: i32) -> Value {
    let setting = json!({ "index": 1, "type": "dword", "op": "eq", "val": command });
    json!({ "syscall": "fcntl", "args": [setting] })
}

/// Every family but those that are let through, and of these what no network namespace confines.
fn families() -> Vec<Value> {
    let not =
        FAMILIES.map(|family| json!({ "index": 0, "type": "dword", "op": "ne", "val": family }));
    let mut refused =
        ["socket", "socketpair"].map(|name| json!({ "syscall": name, "args": not })).to_vec();
    let is = |index: u8, value: i32| json!({ "index": index, "type": "dword", "op": "eq", "val": value });
    let connector = [is(0, libc::AF_NETLINK), is(2, CONNECTOR)];
    refused.push(json!({ "syscall": "socket", "args": connector }));
    refused
}

fn new_user_namespace() -> Value {
    let flag = libc::CLONE_NEWUSER;
    let argument = json!({ "index": 0, "type": "qword", "op": { "masked_eq": flag }, "val": flag });
    json!({ "syscall": "clone", "args": [argument] })
}

/// Lets everything through but the listed calls, which fail with `errno`.
fn program(errno: i32, listed: Vec<Value>) -> Result<Bytes, FilterError> {
    let architecture = std::env::consts::ARCH;
    let target =
        TargetArch::try_from(architecture).map_err(|_| FilterError::Architecture(architecture))?;
    let description = json!({ "it": {
        "mismatch_action": "allow",
        "match_action": { "errno": errno },
        "filter": listed,
    }});
    let compiled = compile_from_json(description.to_string().as_bytes(), target)
        .map_err(|error| FilterError::Compile(error.to_string()))?;
    let program = compiled.into_values().next().unwrap_or_default();
    Ok(bytes(&program))
}

/// The instructions as the kernel reads them: 16 bits of code, two jump offsets, 32 bits of operand.
fn bytes(program: &BpfProgram) -> Bytes {
    let instructions = program.iter().flat_map(|instruction| {
        let [code_low, code_high] = instruction.code.to_ne_bytes();
        let [a, b, c, d] = instruction.k.to_ne_bytes();
        [code_low, code_high, instruction.jt, instruction.jf, a, b, c, d]
    });
    Bytes::from(instructions.collect::<Vec<u8>>())
}

/// x86-64's second ABI, x32, has the same architecture number and other call numbers, so that it
/// would pass by every list above: all of it fails with `ENOSYS` (as in systemd and Docker).
fn foreign_abi() -> Bytes {
    const X32_BIT: u32 = 0x4000_0000;
    const LOAD_NUMBER: (u16, u8, u8, u32) = (0x20, 0, 0, 0);
    const IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const FAIL: u32 = 0x0005_0000;
    let limit = if cfg!(target_arch = "x86_64") { X32_BIT } else { u32::MAX };
    let program = [
        LOAD_NUMBER,
        (IF_AT_LEAST, 0, 1, limit),
        (RETURN, 0, 0, FAIL | libc::ENOSYS as u32),
        (RETURN, 0, 0, ALLOW),
    ];
    let instructions = program.iter().flat_map(|(code, jt, jf, k)| {
        let [code_low, code_high] = code.to_ne_bytes();
        let [a, b, c, d] = k.to_ne_bytes();
        [code_low, code_high, *jt, *jf, a, b, c, d]
    });
    Bytes::from(instructions.collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "x86_64";

    #[test]
    fn the_default_filter_compiles_and_is_small() {
        let filters = compile(&Wanted { nesting: true, ..Wanted::default() }).unwrap();
        assert!(filters.command.is_empty());
        let instructions: usize = filters.base.iter().map(|program| program.len() / 8).sum();
        assert!((40..400).contains(&instructions), "{instructions} instructions");
        assert!(filters.base.iter().all(|program| program.len() % 8 == 0));
    }

    #[test]
    fn forbidding_nesting_adds_a_part_for_commands() {
        let filters = compile(&Wanted::default()).unwrap();
        assert_eq!(filters.command.len(), 2);
    }

    #[test]
    fn what_a_profile_allows_is_not_denied() {
        let allow = vec!["bpf".to_owned()];
        let with = compile(&Wanted { allow, nesting: true, ..Wanted::default() }).unwrap();
        let without = compile(&Wanted { nesting: true, ..Wanted::default() }).unwrap();
        assert!(with.base[1].len() < without.base[1].len());
    }

    #[test]
    fn an_unknown_name_is_refused_by_name() {
        let deny = vec!["no_such_call".to_owned()];
        let error = compile(&Wanted { deny, ..Wanted::default() }).unwrap_err().to_string();
        assert!(error.contains("no_such_call"), "{error} on {MACHINE}");
    }
}
