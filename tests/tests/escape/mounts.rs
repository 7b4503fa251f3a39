//! Mounts without a namespace of one's own.

use crate::acts::{Act, act};

const DENIED: &[&str] = &["EPERM", "EINVAL"];
const HIDDEN: &[&str] = &["hidden"];
const OWN: &str = "own_mount(); umount(own, MNT_DETACH)";

pub const ACTS: &[Act] = &[
    act("mount", "mount", "mount('x', '/tmp', 'tmpfs')", OWN, DENIED),
    act("bind", "mount", "mount('/usr', '/tmp', None, MS_BIND)", OWN, DENIED),
    act("unmount", "mount", "umount('/tmp', MNT_DETACH)", OWN, DENIED),
    act(
        "remount every mount",
        "remount",
        "result = told(any_remounted())",
        "own_mount(); mount('x', own, None, MS_REMOUNT | MS_BIND | MS_RDONLY); result = told(any_remounted())",
        HIDDEN,
    ),
    act(
        "unmount every mount",
        "umount",
        "result = told(any_unmounted())",
        "own_mount(); umount(own); result = told(not os.path.ismount(own))",
        HIDDEN,
    ),
    act(
        "change the root",
        "pivot_root",
        "call('pivot_root', b'/tmp', b'/tmp')",
        "own_mount(); os.chdir(own); call('pivot_root', b'.', b'.')",
        DENIED,
    ),
    act("chroot", "chroot", "os.chroot('/tmp')", "nest(); os.chroot('/tmp')", DENIED),
    act(
        "copy a tree",
        "open_tree",
        "call('open_tree', -100, b'/', 0x8001)",
        "nest(); call('open_tree', -100, b'/', 0x8001)",
        DENIED,
    ),
    act(
        "open a file system",
        "fsopen; CVE-2022-0185",
        "check(libc.syscall(ctypes.c_long(430), b'tmpfs', 0))",
        "nest(); check(libc.syscall(ctypes.c_long(430), b'tmpfs', 0))",
        DENIED,
    ),
    act(
        "a mount namespace",
        "unshare",
        "unshare(CLONE_NEWNS)",
        "nest(); unshare(CLONE_NEWNS)",
        DENIED,
    ),
    act(
        "a pid namespace",
        "unshare",
        "unshare(CLONE_NEWPID)",
        "nest(); unshare(CLONE_NEWPID)",
        DENIED,
    ),
    act(
        "a cgroup namespace",
        "unshare",
        "unshare(CLONE_NEWCGROUP)",
        "nest(CLONE_NEWNS | CLONE_NEWCGROUP)",
        DENIED,
    ),
];
