//! A server of the user's own: started when there is none, used by all, gone when nobody needs it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use zyg_tests::{eventually, is_root, skip, wait_readable, zyg_binary};
use zygote_client::Client;

/// A runtime directory of a test's own. When it is dropped the server in it is ended, and must be
/// the only one.
struct Runtime {
    directory: TempDir,
}

impl Runtime {
    /// `None` where a system service would be found first.
    fn new() -> Option<Self> {
        if Client::connect("/run/zyg/zyg.sock").is_ok() {
            skip("the system service of this machine is found before a private server");
            return None;
        }
        Some(Self { directory: tempfile::tempdir().unwrap() })
    }

    /// Where the private server has its socket, lock and log.
    fn own(&self) -> PathBuf {
        self.directory.path().join("zyg")
    }

    fn socket(&self) -> PathBuf {
        zygote_client::private_socket(&self.own())
    }

    /// `zyg VERB` by which the private server is found.
    fn zyg(&self, verb: &str) -> Command {
        let mut command = Command::new(zyg_binary());
        command.arg(verb).env("XDG_RUNTIME_DIR", self.directory.path());
        command.env_remove("ZYG_SOCKET").env_remove("ZYG_PROFILE").env_remove("ZYG_BIN");
        command
    }

    /// Starts a server that leaves soon after it has become idle, and connects to it.
    fn impatient(&self) -> Client {
        fs::create_dir(self.own()).unwrap();
        fs::set_permissions(self.own(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = self.zyg("serve");
        command.args(["--private", "--idle-exit-ms", "300", "--socket"]).arg(self.socket());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "it goes on in the background");
        eventually("listening", || Client::connect(self.socket()).ok())
    }

    fn run(&self, argv: &[&str]) -> Output {
        self.zyg("run").arg("--").args(argv).output().unwrap()
    }

    fn status(&self) -> serde_json::Value {
        let output = self.zyg("status").arg("--json").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The server that answers now.
    fn server(&self) -> Pid {
        Pid::from_raw(self.status()["server"]["pid"].as_i64().unwrap() as i32)
    }

    /// Every process that is a server for this directory.
    fn servers(&self) -> Vec<Pid> {
        let socket = self.socket().into_os_string().into_encoded_bytes();
        let is_server = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                let mut words = line.split(|byte| *byte == 0);
                words.nth(1) == Some(b"serve") && words.any(|word| word == socket)
            })
        };
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_server).map(Pid::from_raw).collect()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let left: Vec<_> = self
            .servers()
            .into_iter()
            .filter_map(|pid| Some((pid, zygote::process_descriptor(pid).ok()?)))
            .collect();
        for (pid, _) in &left {
            let _ = kill(*pid, Signal::SIGTERM);
        }
        for (pid, gone) in &left {
            if !std::thread::panicking() {
                wait_readable(gone, &format!("the end of the private server {pid}"));
            }
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.own().join("server.log"));
            eprintln!("the private server's log:\n{}", log.unwrap_or_default());
        }
    }
}

#[test]
fn the_first_run_starts_a_server_and_the_next_uses_it() {
    let Some(runtime) = Runtime::new() else { return };
    assert!(!runtime.own().exists());
    let first = runtime.run(&["echo", "ran"]);
    assert_eq!((&first.stdout[..], first.stderr.len()), (&b"ran\n"[..], 0), "{first:?}");
    let server = runtime.server();
    assert!(runtime.run(&["sh", "-c", "exit 5"]).status.code() == Some(5));
    assert_eq!(runtime.server(), server);
    assert_eq!(runtime.servers(), [server]);
}

#[test]
fn the_server_is_alone_in_its_session_and_holds_nothing_of_its_starter() {
    let Some(runtime) = Runtime::new() else { return };
    let mut command = runtime.zyg("run");
    command.args(["--", "true"]).env("SECRET", "of the first caller").current_dir("/usr");
    // If the server held the pipes, this would wait until it leaves.
    let output = command.stdin(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let server = runtime.server();
    let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
    let own = fs::read_to_string("/proc/self/stat").unwrap();
    assert_ne!(own.rsplit_once(") ").unwrap().1.split(' ').nth(3), Some(&*session));
    assert_eq!(fs::read_link(format!("/proc/{server}/cwd")).unwrap(), Path::new("/"));
    let environment = fs::read(format!("/proc/{server}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("SECRET"));
    for number in 0..3 {
        let stream = fs::read_link(format!("/proc/{server}/fd/{number}")).unwrap();
        let log = runtime.own().join("server.log");
        assert!(stream == Path::new("/dev/null") || stream == log, "{number}: {stream:?}");
    }
}

/// `flock` and `make` leave descriptors open to whatever they run: a lock would never be free again.
#[test]
fn the_server_holds_no_descriptor_that_its_starter_had_open() {
    let Some(runtime) = Runtime::new() else { return };
    let held = runtime.directory.path().join("held");
    let mut shell = Command::new("sh");
    let zyg = runtime.zyg("run");
    let script = "exec 8>\"$1\"; test -e /proc/$$/fd/8 && exec \"$0\" run -- true";
    shell.args(["-c", script]).arg(zyg.get_program()).arg(&held);
    shell.env("XDG_RUNTIME_DIR", runtime.directory.path()).env_remove("ZYG_SOCKET");
    assert!(shell.status().unwrap().success());
    let server = runtime.server();
    let started = zyg_tests::Census::below(server).pids();
    for pid in started.into_iter().chain([server]) {
        // A zygote's descriptors cannot be looked at; it is cloned from a template, whose can.
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let open = entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        assert!(!open.into_iter().any(|file| file == held), "process {pid} holds it");
    }
}

#[test]
fn its_directory_and_all_in_it_are_the_users_alone() {
    let Some(runtime) = Runtime::new() else { return };
    // Whatever the caller's umask allows.
    let mut shell = Command::new("sh");
    let zyg = runtime.zyg("run");
    shell.args(["-c", "umask 000; exec \"$0\" run -- true"]).arg(zyg.get_program());
    shell.env("XDG_RUNTIME_DIR", runtime.directory.path()).env_remove("ZYG_SOCKET");
    assert!(shell.status().unwrap().success());
    let directory = fs::metadata(runtime.own()).unwrap();
    assert_eq!(directory.mode() & 0o777, 0o700);
    assert_eq!(directory.uid(), nix::unistd::getuid().as_raw());
    for name in ["lock", "server.log"] {
        let mode = fs::metadata(runtime.own().join(name)).unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[test]
fn forty_first_runs_at_once_start_one_server() {
    let Some(runtime) = Runtime::new() else { return };
    const RUNS: usize = 40;
    let runs: Vec<_> = (0..RUNS)
        .map(|number| {
            let mut command = runtime.zyg("run");
            command.args(["--", "echo", &number.to_string()]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (number, run) in runs.into_iter().enumerate() {
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(output.stdout, format!("{number}\n").as_bytes());
    }
    assert_eq!(runtime.servers().len(), 1);
    // The one that is there has served all of them: no other has come and gone.
    let served = &runtime.status()["profiles"][0]["served"];
    let total = served["warm"].as_u64().unwrap() + served["cold"].as_u64().unwrap();
    assert_eq!(total, RUNS as u64);
}

#[test]
fn a_server_that_was_killed_is_replaced() {
    let Some(runtime) = Runtime::new() else { return };
    assert!(runtime.run(&["true"]).status.success());
    let first = runtime.server();
    let gone = zygote::process_descriptor(first).unwrap();
    kill(first, Signal::SIGKILL).unwrap();
    wait_readable(&gone, "the end of the first server");
    assert!(runtime.socket().exists(), "its socket is left over");
    let output = runtime.run(&["echo", "ran"]);
    assert_eq!((&output.stdout[..], output.stderr.len()), (&b"ran\n"[..], 0), "{output:?}");
    assert_ne!(runtime.server(), first);
}

#[test]
fn it_leaves_when_it_has_been_idle() {
    let Some(runtime) = Runtime::new() else { return };
    let client = runtime.impatient();
    let [server] = runtime.servers()[..] else { panic!("one server") };
    let gone = zygote::process_descriptor(server).unwrap();
    let started = zyg_tests::Census::below(server);
    // As long as somebody is connected it is not idle.
    let lease = client.lease().unwrap();
    assert!(lease.command("sleep").arg("1").status().unwrap().success());
    drop((client, lease));
    wait_readable(&gone, "the end of the idle server");
    started.assert_gone();
    assert!(!runtime.socket().exists(), "it has left its socket");
    assert_eq!(runtime.servers(), []);

    // And is started again when it is needed.
    assert_eq!(runtime.run(&["echo", "ran"]).stdout, b"ran\n");
}

#[test]
fn a_run_that_lasts_keeps_it() {
    let Some(runtime) = Runtime::new() else { return };
    let client = runtime.impatient();
    let mut command = runtime.zyg("run");
    command.args(["--", "sh", "-c", "echo ready; sleep 1; exit 4"]).stdout(Stdio::piped());
    let mut run = command.spawn().unwrap();
    wait_readable(run.stdout.as_ref().unwrap(), "the command's start");
    drop(client);
    // Longer than the server stays without anybody; by the command's own clock.
    assert_eq!(run.wait().unwrap().code(), Some(4));
}

/// Asserts that nothing runs, and that the directory and the way out are named.
#[test]
fn a_reservation_keeps_it() {
    let Some(runtime) = Runtime::new() else { return };
    let client = runtime.impatient();
    // A child of its looks like it until it has executed what it is for.
    let server = eventually("one server", || match runtime.servers()[..] {
        [server] => Some(server),
        _ => None,
    });
    let gone = zygote::process_descriptor(server).unwrap();
    let (start, time) = (std::time::Instant::now(), std::time::Duration::from_secs(2));
    client.reserve(None, 2, time).unwrap();
    drop(client);
    // Without it, it would have left after 300 ms.
    wait_readable(&gone, "the end of the idle server");
    assert!(start.elapsed() >= time, "{:?}", start.elapsed());
}

fn assert_directory_refused(runtime: &Runtime, words: &[&str]) {
    let output = runtime.run(&["echo", "ran"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{said}");
    assert!(said.contains(runtime.own().to_str().unwrap()), "{said}");
    for word in words {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(runtime.servers(), []);
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let Some(runtime) = Runtime::new() else { return };
    fs::create_dir(runtime.own()).unwrap();
    for mode in [0o755, 0o770, 0o701, 0o777] {
        fs::set_permissions(runtime.own(), fs::Permissions::from_mode(mode)).unwrap();
        assert_directory_refused(&runtime, &["chmod 700", &format!("{mode:o}")]);
    }
    fs::set_permissions(runtime.own(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(runtime.run(&["echo", "ran"]).stdout, b"ran\n", "the control");
}

#[test]
fn a_directory_that_is_none_is_refused() {
    let Some(runtime) = Runtime::new() else { return };
    let real = runtime.directory.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).unwrap();
    symlink("real", runtime.own()).unwrap();
    assert_directory_refused(&runtime, &["not a directory", "symbolic link"]);
    fs::remove_file(runtime.own()).unwrap();
    fs::write(runtime.own(), "").unwrap();
    assert_directory_refused(&runtime, &["not a directory"]);
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !is_root() {
        return; // Only root can make one.
    }
    let Some(runtime) = Runtime::new() else { return };
    fs::create_dir(runtime.own()).unwrap();
    fs::set_permissions(runtime.own(), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(runtime.own(), Some(12345), None).unwrap();
    assert_directory_refused(&runtime, &["uid 12345", "uid 0"]);
}

#[test]
fn a_server_is_that_of_its_callers_namespaces() {
    let Some(runtime) = Runtime::new() else { return };
    assert_eq!(runtime.run(&["hostname"]).status.code(), Some(0));
    // With files of its own, as in a container, and the same directory to look for a server in.
    let inside = |script: &str| {
        let mut shell = Command::new("unshare");
        let zyg = runtime.zyg("run");
        shell.args(["--user", "--map-current-user", "--mount", "sh", "-c", script]);
        shell.arg(zyg.get_program()).env("XDG_RUNTIME_DIR", runtime.directory.path());
        shell.env_remove("ZYG_SOCKET").env_remove("ZYG_PROFILE").output().unwrap()
    };
    let control = inside("true");
    if !control.status.success() {
        return skip("this machine gives an ordinary user no namespaces");
    }
    let found = inside("exec \"$0\" status");
    let said = String::from_utf8_lossy(&found.stderr);
    assert!(!found.status.success() && said.contains("no server listens at"), "{found:?}");
    assert!(!said.contains(runtime.socket().to_str().unwrap()), "{said}");
    assert!(runtime.zyg("status").status().unwrap().success(), "the control: it is there");
}

#[test]
fn a_user_whose_group_is_not_the_databases_has_it_inside() {
    const SOMEBODY: u32 = 12345;
    if !is_root() {
        return; // Only root can be in another group.
    }
    let Some(runtime) = Runtime::new() else { return };
    let place = runtime.directory.path();
    let zyg = place.join("zyg-program");
    fs::copy(zyg_binary(), &zyg).unwrap();
    fs::set_permissions(&zyg, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(place, Some(SOMEBODY), None).unwrap();
    // The ordinary user whose group the database names, and one without a name.
    for uid in [SOMEBODY, 65534] {
        std::os::unix::fs::chown(place, Some(uid), None).unwrap();
        let socket = place.join(format!("{uid}.sock"));
        let as_user = |verb: &str| {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={uid}")).args(["--regid=4", "--clear-groups"]);
            command.arg(&zyg).arg(verb).arg("--socket").arg(&socket).current_dir("/");
            command
        };
        let mut server =
            as_user("serve").stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("a server", || Client::connect(&socket).ok());
        let output = as_user("run").args(["--", "sh", "-c", "id -u; id -g"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM).unwrap();
        server.wait().unwrap();
        assert_eq!(told, format!("{uid}\n4\n"), "{output:?}");
    }
}

#[test]
fn status_starts_no_server() {
    let Some(runtime) = Runtime::new() else { return };
    let output = runtime.zyg("status").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{said}");
    assert!(said.contains("no server listens at"), "{said}");
    assert_eq!(runtime.servers(), []);
}

#[test]
fn a_named_socket_without_a_server_starts_none() {
    let Some(runtime) = Runtime::new() else { return };
    let mut command = runtime.zyg("run");
    let missing = runtime.directory.path().join("no.sock");
    let output = command.args(["--", "echo", "ran"]).env("ZYG_SOCKET", missing).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0));
    assert_eq!(runtime.servers(), []);
    assert!(!runtime.own().exists());
}
