//! The names of capabilities(7), and those that no command is given.

use super::nearest::nearest;

/// `CAP_NET_BIND_SERVICE`
pub(super) const NET_BIND_SERVICE: u8 = 10;
/// `CAP_NET_ADMIN`
pub(super) const NET_ADMIN: u8 = 12;
/// `CAP_NET_RAW`
pub(super) const NET_RAW: u8 = 13;

/// By number (linux/capability.h).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Those with which a command could get at init, although only over its own namespaces: by mounts
/// and namespaces, by tracing, by the state of processes in /proc.
const REACH_INIT: [&str; 3] = ["sys_admin", "sys_ptrace", "checkpoint_restore"];

/// Those that are about the machine: they are worth nothing in a namespace, or ought to be.
const REACH_KERNEL: [&str; 13] = [
    "sys_module",
    "sys_rawio",
    "sys_boot",
    "sys_time",
    "mac_override",
    "mac_admin",
    "bpf",
    "perfmon",
    "syslog",
    "audit_write",
    "audit_control",
    "audit_read",
    "mknod",
];

/// The number of a capability that a command may be given, by its name in either case.
pub(super) fn number(written: &str) -> Result<u8, String> {
    let name = written.to_ascii_lowercase();
    let Some(number) =
        (0..).zip(NAMES).find_map(|(number, known)| (known == name).then_some(number))
    else {
        let without_prefix = name.strip_prefix("cap_").unwrap_or(&name);
        let hint = match nearest(without_prefix, &NAMES) {
            Some(known) => format!("did you mean {known:?}?"),
            None => "names are those of capabilities(7) without CAP_".into(),
        };
        return Err(format!("{written:?} is no capability; {hint}"));
    };
    if REACH_INIT.contains(&name.as_str()) {
        Err(format!("no command is given {written:?}: it would reach init"))
    } else if REACH_KERNEL.contains(&name.as_str()) {
        Err(format!("no command is given {written:?}: it would reach the kernel of the host"))
    } else {
        Ok(number)
    }
}

/// The name of a capability by its number.
pub(super) fn name(number: u8) -> &'static str {
    NAMES.get(usize::from(number)).copied().unwrap_or("unknown")
}
