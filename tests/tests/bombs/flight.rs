//! Descriptors on their way over Unix sockets. The kernel counts them for each kernel uid, and lets
//! nobody send more while there are more than his own soft limit of open ones (`ETOOMANYREFS`,
//! unix(7)).
//!
//! What is tried here meets every other test of the same user: these tests run one at a time, and
//! under nextest alone (`.config/nextest.toml`).

use crate::scene::{Scene, profile, server};
use nix::sys::resource::{Resource, getrlimit};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zyg_tests::{Probe, Server, Setup, eventually, is_root, zyg_binary};
use zygote_client::{Client, LeaseOptions, TtySize};

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts descriptors on their way, and lets nobody receive them: five hundred at most, for they count
/// for the kernel uid, wherever it is.
const IN_FLIGHT: &str = r#"
import array
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 50))]
def act(_):
    while True:
        if not held:
            held.append(socket.socketpair())
            held[-1][0].setblocking(False)
        try:
            return held[-1][0].sendmsg([b"x"], rights)
        except BlockingIOError:
            held.append(socket.socketpair())
            held[-1][0].setblocking(False)
burn(refused(act, 10))
"#;

const PASS_ONE: &str = "import array\npair = socket.socketpair()\npair[0].sendmsg([b'x'], \
                        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0]))])";

#[test]
fn descriptors_in_flight_are_bounded_as_open_ones_are() {
    let _alone = alone();
    let small = profile("small", "", "nofile = 256");
    let server = server(&small, &["small"]);
    let mut scene = Scene::of(&server, "small");
    for _ in 0..2 {
        let bomb = scene.light(IN_FLIGHT);
        assert_eq!(bomb.name, "ETOOMANYREFS");
        assert!(bomb.count <= 6, "{}", bomb.count);
        scene.assert_unnoticed();
        bomb.end();
    }
    let control = scene.light_under("default", IN_FLIGHT);
    assert_eq!(control.name, "none", "the control, after {}", control.count);
    control.end();
    scene.assert_restored();
}

#[test]
fn descriptors_in_flight_count_for_a_kernel_uid_of_ones_own() {
    let _alone = alone();
    let server = server("", &["strict"]);
    let mut scene = Scene::of(&server, "strict");
    let many = IN_FLIGHT.replace("refused(act, 10)", "refused(act, 100)");
    for _ in 0..2 {
        let bomb = scene.light(&format!("raise_descriptors()\n{many}"));
        assert_eq!((bomb.name.as_str(), bomb.count), ("ETOOMANYREFS", 82));
        // More than the limit of whoever passes descriptors here, and not counted for them.
        scene.assert_unnoticed();
        assert_eq!(scene.bystander_tries(PASS_ONE), "ok");
        assert_eq!(Probe::new().one_outside(PASS_ONE), "ok");
        bomb.end();
    }
    scene.assert_restored();
}

/// Puts as many descriptors on their way as can be under this soft limit: exactly so many, and then
/// as many more as fit into one message, for whether it is too many is asked before they are counted.
const AS_MANY_AS_CAN_BE: &str = r#"
import array
def fill(limit):
    sent = 0
    while sent <= limit:
        size = 253 if sent + 253 <= limit or sent == limit else 1
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * size))]
        try:
            if not held:
                raise BlockingIOError
            held[-1][0].sendmsg([b"x"], rights)
            sent += size
        except BlockingIOError:
            held.append(socket.socketpair())
            held[-1][0].setblocking(False)
        except OSError as error:
            return f"{errno.errorcode[error.errno]} {sent}"
    return f"none {sent}"
"#;

/// The descriptor limit of the servers here: one that is soon reached.
const LIMIT: u64 = 4096;

/// And that of their commands.
const COMMANDS: u64 = 3072;

/// A server whose environments are built when they are asked for, so that each comes over every
/// socket that there is.
fn limited() -> Server {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= LIMIT, "these tests need a hard descriptor limit of {LIMIT}, not {hard}");
    let config = "[profile.default.pool]\nmin = 0\nmax = 8\nlearn = false\n";
    let server = Setup::default().config(config).descriptors(LIMIT).start();
    server.client().lease().unwrap().release().unwrap();
    server
}

fn limits() -> (u64, u64) {
    getrlimit(Resource::RLIMIT_NOFILE).unwrap()
}

/// `zyg run` of this shell script, by a shell that has run `setup` first.
fn zyg_run(server: &Server, setup: &str, script: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{setup}; exec \"$@\""), "sh"]).arg(zyg_binary());
    command.args(["run", "--ro-bind", "/usr:/tmp/usr", "--", "sh", "-c", script]);
    command.env("ZYG_SOCKET", server.socket()).env_remove("ZYG_PROFILE");
    command.output().unwrap()
}

#[test]
fn descriptors_in_flight_of_one_lease_leave_room_to_hand_over_others() {
    let _alone = alone();
    let server = limited();
    let before = limits();
    let mut scene = Scene::of(&server, "default");
    for _ in 0..2 {
        let bomb = scene.light(&format!(
            "{AS_MANY_AS_CAN_BE}\nraise_descriptors()\n\
             burn(fill(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))"
        ));
        // All that there may be, but for those of other programs that happen to be on their way.
        let most = COMMANDS as usize + 253;
        assert!(
            (COMMANDS as usize / 2..=most).contains(&bomb.count),
            "{} {}",
            bomb.name,
            bomb.count
        );
        scene.assert_unnoticed();
        handed_over_through_the_library(scene.observer());
        handed_over_through_zyg_run(&server);
        bomb.end();
    }
    assert_eq!(limits(), before, "raised for a moment only");
    scene.assert_restored();
}

/// Three at once, with mounts, which go from the template to the server, on to the client and from
/// there to init; with a terminal, which comes from init.
fn handed_over_through_the_library(client: &Client) {
    let mut options = LeaseOptions::new();
    options.ro_bind("/usr", "/tmp/usr").ro_bind("/etc", "/tmp/etc");
    let leases: Vec<_> = (0..3).map(|_| client.acquire(&options).unwrap()).collect();
    for lease in leases {
        assert!(lease.command("true").status().unwrap().success());
        let mut on_a_terminal = lease.command("test");
        on_a_terminal.args(["-t", "0"]).tty(TtySize { rows: 24, columns: 80 });
        assert!(on_a_terminal.output().unwrap().status.success());
        lease.release().unwrap();
    }
}

fn handed_over_through_zyg_run(server: &Server) {
    for (soft, told) in [(1024, "1024"), (COMMANDS, "3072")] {
        let setup = format!("ulimit -S -n {soft}");
        let output = zyg_run(server, &setup, "test -d /tmp/usr/bin && ulimit -S -n");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), told, "as zyg was started");
    }
    let output = zyg_run(server, "ulimit -n 1024", "true");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if is_root() {
        println!("root is exempt: zyg sends with a hard limit of 1024 as well (unix(7))");
        return assert!(output.status.success(), "{stderr}");
    }
    assert_eq!(output.status.code(), Some(125), "the control, which has nothing to raise");
    let want = "too many descriptors of this user are on their way between processes, more than \
                this one may have open (ulimit -Hn is 1024)";
    assert!(stderr.contains(want), "{stderr}");
}

#[test]
fn without_that_room_nothing_is_handed_over() {
    let _alone = alone();
    let server = limited();
    let client = server.client();
    // Not in an environment: as many as the server itself could send.
    let probe = Probe::new().with_definitions(AS_MANY_AS_CAN_BE);
    let (mut full, said) = probe.resident_outside(&format!(
        "import resource\nheld = []\nlimit = {LIMIT}\n\
         resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))\nsay(fill(limit))\n\
         sys.stdin.read()"
    ));
    println!("outside: {said}");
    let refused = client.lease().unwrap_err().to_string();
    assert!(refused.contains("descriptors of this user are on their way"), "{refused}");
    let output = zyg_run(&server, ":", "true");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    drop(full.stdin.take());
    assert!(full.wait().unwrap().success());
    eventually("a lease again, when it has ended", || client.lease().ok());
}
