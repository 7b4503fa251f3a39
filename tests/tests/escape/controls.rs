//! What commands the whole machine: /proc/sys, /sys, cgroups. As an ordinary user the control is a
//! file of one's own.

use crate::acts::{Act, act};

const DENIED: &[&str] = &["EROFS", "EACCES", "EPERM"];
const NOWHERE: &[&str] = &["ENOENT", "EROFS", "EACCES", "EPERM"];
const MADE: &str = "write(made())";

pub const ACTS: &[Act] = &[
    act(
        "set core_pattern",
        "core_pattern",
        "write('/proc/sys/kernel/core_pattern', '|/tmp/x')",
        MADE,
        DENIED,
    ),
    act(
        "set core_pattern, nested",
        "core_pattern",
        "nest(); write('/proc/sys/kernel/core_pattern', '|/tmp/x')",
        MADE,
        DENIED,
    ),
    act(
        "set modprobe",
        "modprobe path",
        "write('/proc/sys/kernel/modprobe', '/tmp/x')",
        MADE,
        NOWHERE,
    ),
    act(
        "register a binary format",
        "binfmt_misc",
        "os.open('/proc/sys/fs/binfmt_misc/register', os.O_WRONLY)",
        MADE,
        NOWHERE,
    ),
    act("trigger sysrq", "sysrq", "os.open('/proc/sysrq-trigger', os.O_WRONLY)", MADE, NOWHERE),
    act(
        "set uevent_helper",
        "uevent_helper",
        "write('/sys/kernel/uevent_helper', '/tmp/x')",
        MADE,
        NOWHERE,
    ),
    act(
        "announce a device",
        "uevent",
        "os.open('/sys/class/net/lo/uevent', os.O_WRONLY)",
        MADE,
        NOWHERE,
    ),
    act(
        "find a writable sysctl",
        "/proc/sys",
        "result = told(any_writable('/proc/sys'))",
        "made(); result = told(any_writable(own))",
        &["hidden"],
    ),
    act(
        "find a writable file of /sys",
        "/sys",
        "result = told(any_writable('/sys/kernel') or any_writable('/sys/fs') or any_writable('/sys/class'))",
        "made(); result = told(any_writable(own))",
        &["hidden"],
    ),
    act(
        "move to a cgroup",
        "cgroup files",
        "write('/sys/fs/cgroup/cgroup.procs', '0')",
        MADE,
        NOWHERE,
    ),
    act(
        "make a cgroup",
        "cgroup files",
        "os.mkdir('/sys/fs/cgroup/zyg')",
        "os.mkdir(fresh())",
        NOWHERE,
    ),
    act(
        "read the kernel's memory",
        "/proc/kcore",
        "assert os.read(os.open('/proc/kcore', 0), 1)",
        "read('/proc/uptime')",
        NOWHERE,
    ),
    act(
        "lower the OOM score",
        "oom_score_adj",
        "write('/proc/self/oom_score_adj', '-500')",
        "write('/proc/self/oom_score_adj', '500')",
        &["EACCES", "EPERM"],
    ),
];
