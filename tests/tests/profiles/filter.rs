//! System calls that are denied, each beside a profile without the filter in which it is not.

use crate::{printed, server};

/// Prints for each raw system call, given as its number and arguments, its error's name, or `ok`.
fn calls(calls: &[(i64, &str)]) -> String {
    let listed: String =
        calls.iter().map(|(number, arguments)| format!("({number}, {arguments}), ")).collect();
    format!(
        "python3 -c 'import ctypes, errno\n\
         call = ctypes.CDLL(None, use_errno=True).syscall\n\
         for each in [{listed}]:\n \
         print(\"ok\" if call(*each) >= 0 else errno.errorcode[ctypes.get_errno()])'"
    )
}

#[cfg(target_arch = "x86_64")]
#[test]
fn each_denied_call_fails_by_the_filter_and_not_by_chance() {
    // Arguments that the kernel refuses in another way than the filter does.
    const BAD: &str = "-1, -1, -1, -1, -1, -1";
    let denied: [(&str, i64, &str); 19] = [
        ("keyctl", 250, BAD),
        ("add_key", 248, BAD),
        ("request_key", 249, BAD),
        ("bpf", 321, "999, 0, 0"),
        ("perf_event_open", 298, BAD),
        ("userfaultfd", 323, "-1"),
        ("io_uring_setup", 425, "-1, 0"),
        ("io_uring_enter", 426, BAD),
        ("io_uring_register", 427, BAD),
        ("open_by_handle_at", 304, "-1, 0, 0"),
        ("fanotify_init", 300, "-1, -1"),
        ("kexec_load", 246, "0, 0, 0, -1"),
        ("init_module", 175, "0, 0, 0"),
        ("finit_module", 313, "-1, 0, -1"),
        ("delete_module", 176, "0, -1"),
        ("reboot", 169, "0, 0, 0, 0"),
        ("swapon", 167, "0, -1"),
        ("acct", 163, "-1"),
        ("x32", 0x4000_0027, "0"),
    ];
    let server = server("[profile.open]\nseccomp = \"off\"\n");
    let script = calls(&denied.map(|(_, number, arguments)| (number, arguments)));
    let filtered = printed(&server, "default", &script);
    let open = printed(&server, "open", &script);
    let absent = ["io_uring_setup", "io_uring_enter", "io_uring_register", "x32"];
    for ((name, ..), (filtered, open)) in denied.iter().zip(filtered.lines().zip(open.lines())) {
        let expected = if absent.contains(name) { "ENOSYS" } else { "EPERM" };
        assert_eq!(filtered, expected, "{name}; without the filter: {open}");
        // Those that need a privilege fail with EPERM there, too: the kernel asks for it first.
        let privileged = [
            "kexec_load",
            "init_module",
            "finit_module",
            "delete_module",
            "reboot",
            "swapon",
            "acct",
            "open_by_handle_at",
            "fanotify_init",
            "bpf",
            "perf_event_open",
            "x32",
            "userfaultfd",
        ];
        assert!(
            open != expected || privileged.contains(name),
            "{name} fails without the filter: {open}"
        );
    }
    assert_eq!(filtered.lines().count(), denied.len());
}

#[test]
fn socket_families_beyond_the_confined_ones_are_refused() {
    let server = server("[profile.open]\nseccomp = \"off\"\n");
    let try_family = |family: i32, kind: i32| {
        format!(
            "python3 -c 'import socket\n\
             try:\n socket.socket({family}, {kind}); print(\"ok\")\n\
             except OSError as e: print(e.errno)'"
        )
    };
    const EAFNOSUPPORT: &str = "97";
    // AF_ALG, AF_VSOCK, AF_PACKET, AF_BLUETOOTH, and a number that is none.
    for family in [38, 40, 17, 31, 99] {
        assert_eq!(printed(&server, "default", &try_family(family, 1)), EAFNOSUPPORT, "{family}");
    }
    for family in [1, 2, 10] {
        assert_eq!(printed(&server, "default", &try_family(family, 1)), "ok", "{family}");
    }
    assert_eq!(printed(&server, "default", &try_family(16, 3)), "ok", "netlink");
    // The control: without the filter the kernel says something else of packet sockets.
    assert_ne!(printed(&server, "open", &try_family(17, 3)), EAFNOSUPPORT);
}

#[test]
fn no_file_is_leased_and_no_process_of_the_machines_told_of() {
    const EAFNOSUPPORT: &str = "97";
    let server = server("[profile.open]\nseccomp = \"off\"\n");
    let lease = "python3 -c 'import fcntl\n\
                 try:\n fcntl.fcntl(open(\"/tmp/f\", \"w\"), fcntl.F_SETLEASE, fcntl.F_WRLCK); print(\"ok\")\n\
                 except OSError as e: print(e.errno)'";
    // NETLINK_CONNECTOR, where the namespace is the host's.
    let connector = "python3 -c 'import socket\n\
                     try:\n socket.socket(16, 2, 11); print(\"ok\")\n\
                     except OSError as e: print(e.errno)'";
    // F_SET_RW_HINT, which the kernel takes from whoever may read a file.
    let hint = lease.replace("fcntl.F_SETLEASE, fcntl.F_WRLCK", "1036, bytes([2]) + bytes(7)");
    assert_eq!(printed(&server, "default", lease), "1");
    assert_eq!(printed(&server, "default", &hint), "1");
    assert_eq!(printed(&server, "open", &hint), "ok", "the control");
    assert_eq!(printed(&server, "networked", connector), EAFNOSUPPORT);
    assert_eq!(printed(&server, "open", lease), "ok", "the control");
    assert_ne!(printed(&server, "open", connector), EAFNOSUPPORT, "the control");
}

#[test]
fn input_cannot_be_pasted_into_a_terminal() {
    let server = server("[profile.open]\nseccomp = \"off\"\n");
    let paste = "script -qec 'python3 -c \"\n\
        import fcntl, sys\n\
        try:\n fcntl.ioctl(0, 0x5412, b\\\"x\\\"); print(\\\"pasted\\\")\n\
        except OSError as e: print(e.errno)\"' /dev/null </dev/null | tr -d '\\r' | tail -n 1";
    assert_eq!(printed(&server, "default", paste), "1");
    // The control: the kernel's own answer, EIO where it forbids this to everybody (Linux 6.2,
    // dev.tty.legacy_tiocsti).
    assert_ne!(printed(&server, "open", paste), "1");
}

#[test]
fn nesting_is_forbidden_where_the_profile_says() {
    let server = server("[profile.flat]\nnesting = false\n");
    let nest = "unshare --user true 2>/dev/null && echo nested || echo refused";
    assert_eq!(printed(&server, "flat", nest), "refused");
    assert_eq!(printed(&server, "strict", nest), "refused");
    assert_eq!(printed(&server, "default", nest), "nested", "the control");
    // A thread needs clone3(2) or its fallback.
    let thread = "python3 -c 'import threading; t = threading.Thread(target=print, args=(1,)); t.start(); t.join()'";
    assert_eq!(printed(&server, "flat", thread), "1");
}

#[test]
fn a_profile_may_allow_and_deny_calls_by_name() {
    let server =
        server("[profile.mixed]\nseccomp = { allow = [\"keyctl\"], deny = [\"getcwd\"] }\n");
    let keyctl = calls(&[(250, "-1, -1, -1, -1, -1")]);
    assert_eq!(printed(&server, "default", &keyctl), "EPERM");
    assert_ne!(printed(&server, "mixed", &keyctl), "EPERM");
    let cwd =
        "python3 -c 'import os; print(os.getcwd())' >/dev/null 2>&1 && echo known || echo denied";
    assert_eq!(printed(&server, "mixed", cwd), "denied");
    assert_eq!(printed(&server, "default", cwd), "known", "the control");
}

#[test]
fn inits_limits_cannot_be_set() {
    let server = server("[profile.open]\nseccomp = \"off\"\n");
    let limit = |pid: &str| {
        format!(
            "python3 -c 'import os, resource\n\
             try:\n resource.prlimit({pid}, resource.RLIMIT_NOFILE, (64, 64)); print(\"set\")\n\
             except OSError as e: print(e.errno)'"
        )
    };
    assert_eq!(printed(&server, "default", &limit("1")), "1");
    assert_eq!(printed(&server, "strict", &limit("1")), "1");
    assert_eq!(printed(&server, "default", &limit("os.getppid()")), "set", "another's may be set");
    assert_eq!(printed(&server, "open", &limit("1")), "set", "the control: the kernel allows it");
}
