//! /proc and /sys: the environment's own processes and devices, and no control of the host's.

use zyg_tests::{Probe, Server, is_root, skip};

/// Every file under `top` that could be opened for writing although its mode does not let
/// everybody write, apart from processes' own.
const WRITABLE: &str = "
found = []
for place, directories, files in os.walk(top):
    if place == '/proc':
        own = ('self', 'thread-self')
        directories[:] = [name for name in directories if not name.isdigit() and name not in own]
    for name in files:
        path = os.path.join(place, name)
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and not mode & 0o002:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                found.append(path)
        except OSError:
            pass
result = found[:9]
";

#[test]
fn no_control_of_the_kernel_can_be_opened_for_writing() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    for top in ["/proc", "/sys"] {
        let probe = Probe::new().with("top", top);
        assert_eq!(probe.one_inside(&lease, WRITABLE), "[]", "{top}");
        if is_root() {
            assert_ne!(probe.one_outside(WRITABLE), "[]", "{top}: the control");
        }
    }
    // The control for everybody: the same walk finds what can be written.
    let own = "top = '/tmp/d'\nos.mkdir(top); create(top + '/file')";
    let found = Probe::new().one_inside(&lease, &format!("{own}\n{WRITABLE}"));
    assert_eq!(found, "['/tmp/d/file']");
}

#[test]
fn sysctls_of_the_host_cannot_be_set() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let same = "write(path, read(path))";
    // The last ones belong to the environment's own namespaces, and are not its to change either.
    for path in [
        "kernel/core_pattern",
        "kernel/printk",
        "vm/overcommit_memory",
        "fs/file-max",
        "kernel/hostname",
        "kernel/shmmax",
        "net/ipv4/ip_unprivileged_port_start",
    ] {
        let probe = Probe::new().with("path", format!("/proc/sys/{path}"));
        let found = probe.one_inside(&lease, same);
        assert!(["EROFS", "EACCES", "EPERM"].contains(&found.as_str()), "{path}: {found}");
        assert_eq!(probe.one_inside(&lease, "assert read(path)"), "ok", "{path}");
        if is_root() {
            assert_eq!(probe.one_outside(same), "ok", "{path}: the control");
        } else {
            let own = "nest(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)
write('/proc/sys/user/max_user_namespaces', '5')";
            assert_eq!(probe.one_inside(&lease, own), "ok", "the control: a namespace's own");
        }
    }
}

#[test]
fn what_commands_the_whole_machine_is_out_of_reach() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let probe = Probe::new();
    for path in
        ["/proc/sysrq-trigger", "/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/dev/fuse"]
    {
        for mode in ["os.O_RDONLY", "os.O_WRONLY"] {
            let found = probe.one_inside(&lease, &format!("os.open('{path}', {mode})"));
            let refused = ["ENOENT", "EROFS", "EACCES", "EPERM"].contains(&found.as_str());
            // A masked file is read as empty.
            assert!(refused, "{path}: {found}");
        }
    }
    assert_eq!(probe.one_inside(&lease, "os.open('/proc/uptime', os.O_RDONLY)"), "ok");
}

#[test]
fn sys_is_read_only_and_shows_the_loopback_device_alone() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let probe = Probe::new();
    if probe.one_inside(&lease, "result = len(os.listdir('/sys'))") == "0" {
        return skip("the kernel refuses a sysfs here: /sys is empty inside");
    }
    assert_eq!(probe.one_inside(&lease, "result = os.listdir('/sys/class/net')"), "['lo']");
    assert_eq!(probe.one_inside(&lease, "os.mkdir('/sys/fs/x')"), "EROFS");
    assert_eq!(probe.one_inside(&lease, "result = os.listdir('/sys/fs/cgroup')"), "[]");
    let uevent = "os.open('/sys/class/net/lo/uevent', os.O_WRONLY)";
    let found = probe.one_inside(&lease, uevent);
    assert!(["EROFS", "EACCES"].contains(&found.as_str()), "{found}");
}

#[test]
fn mounts_of_the_host_outside_the_tree_are_not_listed() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let probe = Probe::new();
    let points = "result = [line.split()[4] for line in read('/proc/self/mountinfo').splitlines()]";
    let inside = probe.one_inside(&lease, points);
    for hidden in ["'/sys/fs/cgroup", "'/dev/mqueue", "'/dev/hugepages", "'/proc/sys/fs/binfmt"] {
        assert!(!inside.contains(hidden), "{hidden} in {inside}");
    }
    // The control: it does list what is there.
    for shown in ["'/usr'", "'/proc'", "'/tmp'"] {
        assert!(inside.contains(shown), "{shown} in {inside}");
    }
}
