//! What a command has, and what it does not have, when it starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use zyg_tests::{Findings, Probe, Refused, Server, Setup, is_root, skip};
use zygote_client::{Lease, LeaseOptions};

/// Everything that a process inherits, by name.
const INHERITED: [(&str, &str); 19] = [
    ("CapInh", "result = status('CapInh')"),
    ("CapPrm", "result = status('CapPrm')"),
    ("CapEff", "result = status('CapEff')"),
    ("CapBnd", "result = status('CapBnd')"),
    ("CapAmb", "result = status('CapAmb')"),
    ("no new privileges", "result = status('NoNewPrivs')"),
    ("blocked signals", "result = status('SigBlk', os.getppid())"),
    ("tracer", "result = status('TracerPid')"),
    ("umask", "result = status('Umask')"),
    ("nice", "result = os.nice(0)"),
    ("scheduler", "result = os.sched_getscheduler(0)"),
    ("oom_score_adj", "result = read('/proc/self/oom_score_adj').strip()"),
    ("personality", "result = libc.personality(0xffffffff)"),
    (
        "uid and gid",
        "result = (os.getresuid() + os.getresgid()) == tuple(3 * [os.getuid()] + 3 * [os.getgid()])",
    ),
    ("securebits", "result = libc.prctl(27, 0, 0, 0, 0)"),
    (
        "child subreaper",
        "number = ctypes.c_int(7); libc.prctl(37, ctypes.byref(number), 0, 0, 0); result = number.value",
    ),
    (
        "parent death signal",
        "number = ctypes.c_int(7); libc.prctl(2, ctypes.byref(number), 0, 0, 0); result = number.value",
    ),
    ("session", "result = os.getsid(0)"),
    ("terminal", "result = read('/proc/self/stat').rsplit(')')[1].split()[4]"),
];

const NO_CAPABILITIES: &str = "0000000000000000";

fn expected(name: &str) -> &str {
    match name {
        "no new privileges" | "session" => "1",
        "umask" => "0022",
        "uid and gid" => "True",
        name if name.starts_with("Cap") => NO_CAPABILITIES,
        "blocked signals" => NO_CAPABILITIES,
        _ => "0",
    }
}

fn assert_defaults(found: &Findings) {
    for (name, found) in found {
        assert_eq!(found, expected(name), "{name}");
    }
}

/// The signals that a program finds blocked, ignored and caught; not an interpreter, which
/// installs handlers of its own.
fn signals(lease: &Lease) -> String {
    let mut sed = lease.command("sed");
    let output = sed.args(["-n", "/^Sig[BIC]/p", "/proc/self/status"]).current_dir("/").output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

const NO_SIGNALS: &str =
    "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n";

#[test]
fn a_command_starts_with_nothing_but_defaults() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    assert_defaults(&Probe::new().inside(&lease, &INHERITED));
    assert_eq!(signals(&lease), NO_SIGNALS);
    // The control: outside the same questions find capabilities, a session, a mask of one's own.
    let outside = Probe::new().outside(&INHERITED);
    assert_ne!(outside["CapBnd"], NO_CAPABILITIES);
    assert_eq!(outside["no new privileges"], "0");
    assert_ne!(outside["session"], "1");
}

#[test]
fn a_command_inherits_nothing_odd_that_the_server_was_started_with() {
    let mut odd = "trap '' HUP INT QUIT USR1 USR2 PIPE; umask 077; exec 7</etc/passwd\n\
                   set -- setarch -R \"$@\"\n"
        .to_owned();
    if is_root() {
        // What another user cannot undo, once it is raised.
        odd.push_str("set -- nice -n 5 \"$@\"; echo 500 >/proc/self/oom_score_adj");
    }
    let server = Setup::default().shell(&odd).start_warm();
    let lease = server.client().lease().unwrap();
    assert_eq!(signals(&lease), NO_SIGNALS);
    assert_defaults(&Probe::new().inside(&lease, &INHERITED));
    let open = "result = sorted(os.listdir('/proc/self/fd'))";
    let open = Probe::new().one_inside(&lease, &format!("os.close(0)\n{open}"));
    assert!(!open.contains("'7'"), "{open}");
    // The control: the server itself has them.
    let probe = Probe::new().with("pid", server.pid().as_raw());
    assert_ne!(probe.one_outside("result = status('SigIgn', pid)"), NO_CAPABILITIES);
    assert_eq!(probe.one_outside("result = status('Umask', pid)"), "0077");
    let passed = fs::read_link(format!("/proc/{}/fd/7", server.pid())).unwrap();
    assert_eq!(passed.to_str(), Some("/etc/passwd"));
}

#[test]
fn only_the_passed_descriptors_are_open() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut list = lease.command("ls");
    // The last one is ls's own, on the directory.
    let output = list.args(["/proc/self/fd"]).current_dir("/").output().unwrap();
    assert_eq!(output.stdout, b"0\n1\n2\n3\n");
    let file = fs::File::open("/dev/null").unwrap();
    let mut list = lease.command("ls");
    list.args(["-v", "/proc/self/fd"]).current_dir("/");
    let output = list.descriptor(7, file.try_clone().unwrap()).descriptor(40, file).output();
    assert_eq!(output.unwrap().stdout, b"0\n1\n2\n3\n7\n40\n");
}

#[test]
fn setuid_programs_gain_nothing() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut options = LeaseOptions::new();
    let options = options.bind(directory.path(), "/tmp/programs");
    let lease = server.client().acquire(options).unwrap();
    if is_root() {
        // A program that belongs to somebody else, and says who it is.
        let program = directory.path().join("id");
        fs::copy("/usr/bin/id", &program).unwrap();
        nix::unistd::chown(&program, Some(65534.into()), Some(65534.into())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
        let outside = Command::new(&program).arg("-u").output().unwrap();
        assert_eq!(outside.stdout, b"65534\n", "the control");
        let inside = lease.command("/tmp/programs/id").arg("-u").current_dir("/").output().unwrap();
        assert_eq!(inside.stdout, b"0\n");
    } else {
        // chage(1) is set-group-ID to read /etc/shadow, of the caller's own entry.
        let name = zygote::users::with_uid(nix::unistd::getuid().as_raw()).unwrap().name;
        let outside = Command::new("chage").args(["-l", &name]).output();
        if !outside.is_ok_and(|output| output.status.success()) {
            return skip("there is no working chage(1) to try");
        }
        let inside = lease.command("chage").args(["-l", &name]).current_dir("/").status().unwrap();
        assert!(!inside.success());
    }
    // The host's /proc lies below the lease's own, where nobody can look.
    let mounts = "lines = read('/proc/self/mountinfo').splitlines()
result = [line for line in lines if 'nosuid' not in line.split()[5] and line.split()[4] != '/proc']";
    assert_eq!(Probe::new().one_inside(&lease, mounts), "[]");
}

#[test]
fn what_needs_a_capability_is_refused() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let nested = |act, code, control| Refused { act, code, inside: &["EPERM", "EINVAL"], control };
    let rows = [
        nested("mount", "mount('x', '/tmp', 'tmpfs')", "nest(); mount('x', '/tmp', 'tmpfs')"),
        nested(
            "unmount",
            "umount('/tmp', MNT_DETACH)",
            "nest(); mount('x', '/tmp', 'tmpfs'); umount('/tmp')",
        ),
        nested(
            "remount",
            "mount('x', '/tmp', None, MS_REMOUNT | MS_BIND)",
            "nest(); mount('x', '/tmp', 'tmpfs'); mount('x', '/tmp', None, MS_REMOUNT | MS_BIND)",
        ),
        nested(
            "bind",
            "mount('/usr', '/tmp', None, MS_BIND)",
            "nest(); mount('/usr', '/tmp', None, MS_BIND)",
        ),
        nested(
            "change the root",
            "call('pivot_root', b'/tmp', b'/tmp')",
            "nest(); mount('x', '/tmp', 'tmpfs'); os.chdir('/tmp'); call('pivot_root', b'.', b'.')",
        ),
        nested("chroot", "os.chroot('/tmp')", "nest(); os.chroot('/tmp')"),
        nested("a mount namespace", "unshare(CLONE_NEWNS)", "nest(); unshare(CLONE_NEWNS)"),
        nested("a pid namespace", "unshare(CLONE_NEWPID)", "nest(); unshare(CLONE_NEWPID)"),
        nested("a net namespace", "unshare(CLONE_NEWNET)", "nest(); unshare(CLONE_NEWNET)"),
        nested(
            "a detached tree",
            "call('open_tree', -100, b'/tmp', 1)",
            "nest(); call('open_tree', -100, b'/tmp', 0x8001)",
        ),
        nested("a nicer process", "os.nice(-1)", "os.nice(1)"),
        nested("another uid", "os.setresuid(12345, 12345, 12345)", "os.setresuid(-1, -1, -1)"),
        nested("groups", "os.setgroups([0])", "os.getgroups()"),
        nested(
            "the clock",
            "import time; time.clock_settime(time.CLOCK_REALTIME, 0)",
            "import time; time.clock_gettime(0)",
        ),
        nested("reboot", "check(libc.reboot(0))", "os.getpid()"),
        nested("a module", "check(libc.syscall(ctypes.c_long(175), None, 0, b''))", "os.getpid()"),
    ];
    Probe::new().assert_refused(&lease, &rows);
}

#[test]
fn keys_of_the_hosts_user_are_out_of_reach() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    // A secret of this very uid in its user keyring (-4), found from another session there.
    let plant = "result = call('add_key', b'user', b'zyg-test', b'secret', ctypes.c_long(6), -4)";
    let outside = Probe::new();
    let key: i64 = outside.one_outside(plant).parse().expect("the host lets keys be added");
    let probe = Probe::new().with("key", key);
    let acts = [
        ("read", "call('keyctl', 11, ctypes.c_int(key), None, ctypes.c_long(0))"),
        ("describe", "call('keyctl', 6, ctypes.c_int(key), None, ctypes.c_long(0))"),
        ("link the user's keyring", "call('keyctl', 8, -4, -3)"),
        ("add", "call('add_key', b'user', b'zyg-test-2', b'x', ctypes.c_long(1), -3)"),
        ("request", "call('request_key', b'user', b'zyg-test', None, 0)"),
    ];
    for (act, found) in probe.inside(&lease, &acts) {
        assert!(["EPERM", "ENOSYS"].contains(&found.as_str()), "{act}: {found}");
    }
    let outside = probe.outside(&acts[..3]);
    let forget = probe.one_outside("call('keyctl', 9, ctypes.c_int(key), -4)");
    assert!(outside.values().all(|found| found == "ok"), "the control: {outside:?}");
    assert_eq!(forget, "ok");
}

#[test]
fn interfaces_that_namespaces_do_not_cover_are_filtered() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    assert_eq!(Probe::new().one_inside(&lease, "result = status('Seccomp')"), "2");
    let acts = [
        ("bpf", "call('bpf', 0, None, 0)"),
        ("perf_event_open", "call('perf_event_open', None, 0, -1, -1, ctypes.c_long(0))"),
        ("userfaultfd", "call('userfaultfd', 1)"),
        ("io_uring_setup", "call('io_uring_setup', 1, None)"),
        ("open_by_handle_at", "call('open_by_handle_at', -1, None, 0)"),
        ("type for others", "import fcntl; fcntl.ioctl(0, 0x5412, b'x')"),
    ];
    for (act, found) in Probe::new().inside(&lease, &acts) {
        assert!(["EPERM", "ENOSYS"].contains(&found.as_str()), "{act}: {found}");
    }
    // The control: without the filter the kernel looks at the arguments, and finds them wrong.
    let outside = Probe::new().outside(&acts);
    let looked = ["EFAULT", "EINVAL", "EBADF", "ENOTTY", "E2BIG", "ok"];
    let wrong = acts.iter().filter(|(act, _)| looked.contains(&outside[*act].as_str())).count();
    assert!(wrong >= 2, "{outside:?}");
}
