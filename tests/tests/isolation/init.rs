//! Pid 1 cannot be reached by the commands that it runs, which have its uid.

use zyg_tests::{Probe, Server, Setup, eventually, is_root};
use zygote_client::LeaseOptions;

const DENIED: [&str; 2] = ["EACCES", "EPERM"];

/// Acts upon the process `pid`.
const REACH: [(&str, &str); 17] = [
    ("open its memory", "os.open(f'/proc/{pid}/mem', os.O_RDONLY)"),
    ("read a descriptor's name", "os.readlink(f'/proc/{pid}/fd/0')"),
    ("open a descriptor", "os.open(f'/proc/{pid}/fd/0', os.O_RDONLY)"),
    ("enter its root", "os.chdir(f'/proc/{pid}/root/')"),
    ("read its root's name", "os.readlink(f'/proc/{pid}/root')"),
    ("enter its directory", "os.chdir(f'/proc/{pid}/cwd/')"),
    ("read its environment", "read(f'/proc/{pid}/environ')"),
    ("read its program's name", "os.readlink(f'/proc/{pid}/exe')"),
    ("open its program", "os.open(f'/proc/{pid}/exe', os.O_RDONLY)"),
    ("open its namespaces", "os.open(f'/proc/{pid}/ns/mnt', os.O_RDONLY)"),
    ("read its memory map", "read(f'/proc/{pid}/maps')"),
    ("list its mapped files", "os.listdir(f'/proc/{pid}/map_files')"),
    ("read its auxiliary vector", "read(f'/proc/{pid}/auxv')"),
    ("see its system call", "read(f'/proc/{pid}/syscall')"),
    ("take a descriptor", "call('pidfd_getfd', call('pidfd_open', pid, 0), 0, 0)"),
    (
        "read its memory",
        "vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
call('process_vm_readv', pid, vector, ctypes.c_long(1), vector, ctypes.c_long(1), ctypes.c_long(0))",
    ),
    // PTRACE_SEIZE
    ("trace it", "call('ptrace', 0x4206, pid, None, None)"),
];

/// A child that waits: descriptor 0, and `buffer` at the same address.
const CHILD: &str = "
buffer = ctypes.create_string_buffer(8)
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
";

#[test]
fn init_is_out_of_reach_for_its_commands() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let tried = |prefix: &str| {
        let acts: Vec<_> =
            REACH.iter().map(|(act, code)| (*act, format!("{CHILD}\n{prefix}\n{code}"))).collect();
        let acts: Vec<_> = acts.iter().map(|(act, code)| (*act, code.as_str())).collect();
        Probe::new().inside(&lease, &acts)
    };
    let (on_init, on_child) = (tried("pid = 1"), tried(""));
    for (act, _) in REACH {
        assert!(DENIED.contains(&on_init[act].as_str()), "{act}: {}", on_init[act]);
        assert_eq!(on_child[act], "ok", "the control of: {act}");
    }
}

#[test]
fn init_ignores_the_signals_of_its_commands() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let probe = Probe::new();
    let all = "for signal in range(1, 65): os.kill(1, signal)";
    assert_eq!(probe.one_inside(&lease, all), "ok");
    assert_eq!(probe.one_inside(&lease, "result = status('State', 1)[0] in 'SRD'"), "True");
    assert!(lease.command("true").current_dir("/").status().unwrap().success());
    let stopped = format!(
        "{CHILD}\nos.kill(pid, 19); result = os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]); \
         os.kill(pid, 9); result &= os.waitpid(pid, 0)[1] == 9"
    );
    assert_eq!(probe.one_inside(&lease, &stopped), "True", "the control");
}

#[test]
fn the_program_behind_init_cannot_be_replaced() {
    // CVE-2019-5736: a container overwrote the runtime's binary through /proc/PID/exe.
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let probe = Probe::new().with_path("binary", &zyg_tests::zyg_binary());
    for flags in ["os.O_WRONLY", "os.O_RDONLY", "os.O_PATH"] {
        let open = format!("os.open('/proc/1/exe', {flags})");
        let found = probe.one_inside(&lease, &open);
        assert!(DENIED.contains(&found.as_str()), "{flags}: {found}");
    }
    // A command's own program can be opened, and not for writing.
    assert_eq!(probe.one_inside(&lease, "os.open('/proc/self/exe', os.O_RDONLY)"), "ok");
    let own = probe.one_inside(&lease, "os.open('/proc/self/exe', os.O_WRONLY)");
    assert!(["ETXTBSY", "EROFS", "EACCES"].contains(&own.as_str()), "{own}");
    // Nor can the binary by its own name, wherever that is visible.
    let found = probe.one_inside(&lease, "write(binary)");
    assert!(["EROFS", "EACCES", "ENOENT", "ETXTBSY"].contains(&found.as_str()), "{found}");
}

/// `#!/proc/self/exe` executes init's program again, and whoever executes a program can name it: not on a
/// mount where its user could change what the host has.
#[test]
fn the_program_behind_init_cannot_be_changed_by_executing_it_again() {
    const CHANGE: &str = "cd /proc; for p in [0-9]*; do \
        if test \"$(cat $p/comm)\" = zyg-template; then chmod 755 $p/exe 2>&1; echo found; fi; done";
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let script =
        "printf '#!/proc/self/exe template\\n' > /tmp/a && chmod 755 /tmp/a && chmod 755 /tmp/a";
    let made = lease.command("sh").args(["-c", script]).status().unwrap();
    assert!(made.success(), "the control: what is a command's own can be changed");
    // It waits to be told what to prepare.
    let (ours, theirs) = zyg_protocol::socket::pair().unwrap();
    let mut again = lease.command("/tmp/a").stdin(theirs).spawn().unwrap();
    let told = eventually("init's program, executed again", || {
        let output = lease.command("sh").args(["-c", CHANGE]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        told.contains("found").then_some(told)
    });
    assert!(told.contains("Read-only file system"), "{told}");
    drop(ours);
    again.wait().unwrap();
}

/// What init has open is closed before a path is followed for a command (CVE-2024-21626).
#[test]
fn no_path_leads_through_inits_descriptors() {
    let setup = Setup::default().config("[profile.own]\nnetwork = \"own\"\n");
    let server = setup.start();
    for profile in ["default", "own"] {
        let lease = server.client().acquire(LeaseOptions::new().profile(profile)).unwrap();
        let starts_in = |path: &str| {
            let status = lease.command("true").current_dir(path).status();
            status.is_ok_and(|status| status.success())
        };
        assert!(starts_in("/proc/self/root/tmp"), "the control");
        for number in 0..64 {
            let path = format!("/proc/self/fd/{number}");
            assert!(!starts_in(&path), "{profile}: a command starts in {path}");
            let program = format!("{path}/bin/true");
            assert!(lease.command(&program).status().is_err(), "{profile}: {program} is executed");
        }
    }
}

#[test]
fn server_template_and_init_have_one_thread_each() {
    let server = Server::start();
    let threads = |pid| {
        let probe = Probe::new().with("pid", pid);
        probe.one_outside("result = status('Threads', pid)")
    };
    assert_eq!(threads(server.pid().as_raw()), "1");
    for name in ["zyg-template", "zyg-stock", "zyg-init"] {
        let processes = server.processes_named(name);
        assert!(!processes.is_empty(), "no {name}");
        for pid in processes {
            assert_eq!(threads(pid.as_raw()), "1", "{name} {pid}");
        }
    }
}

#[test]
fn init_holds_no_descriptor_of_the_servers() {
    let server = Server::start();
    let inits = server.processes_named("zyg-init");
    if !is_root() {
        // Init is out of reach for its own user outside, too: that is what is tested above.
        let denied = std::fs::read_dir(format!("/proc/{}/fd", inits[0])).unwrap_err();
        assert_eq!(denied.kind(), std::io::ErrorKind::PermissionDenied);
        return;
    }
    for pid in inits {
        // While it sets itself up it has its pidfd and the client's end of its channel, to be handed out.
        eventually("nothing but its own descriptors", || {
            let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
            let links = links.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
            let names: Vec<_> = links.map(|link| link.to_string_lossy().into_owned()).collect();
            let known = |name: &String| {
                name == "/dev/null"
                    || name.starts_with("socket:")
                    || name == "anon_inode:[signalfd]"
                    || name == "/dev/pts"
            };
            let sockets = names.iter().filter(|name| name.starts_with("socket:")).count();
            (names.iter().all(known) && sockets == 2).then_some(())
        });
    }
}
