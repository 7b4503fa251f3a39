//! Processes, zombies and threads.

use crate::scene::{Scene, profile, server};
use zyg_tests::{eventually, is_root};
use zygote_client::LeaseOptions;

/// Forks without end: every process forks twice, into a session of its own, and goes on. One that is
/// refused says so and tries again, so that all of them burn. Each fork takes a token while there
/// are any, so that the bomb is bounded where nothing else bounds it.
const FORK_BOMB: &str = r#"
tell, told = os.pipe()
tokens, fill = os.pipe()
os.write(fill, b"x" * TOKENS)
os.set_blocking(tokens, False)

def spread():
    silent = False
    while True:
        try:
            if not os.read(tokens, 1):
                return
        except BlockingIOError:
            os.write(told, b"none\n")
            signal.pause()
        try:
            if os.fork() == 0:
                os.setsid()
                if os.fork() != 0:
                    os._exit(0)
        except OSError as error:
            os.write(fill, b"x")
            if not silent:
                silent = True
                os.write(told, errno.errorcode[error.errno].encode() + b"\n")
            os.sched_yield()

if os.fork() == 0:
    spread()
burn(os.fdopen(tell).readline().strip() + " 0")
"#;

fn fork_bomb(tokens: u32) -> String {
    format!("TOKENS = {tokens}\n{FORK_BOMB}")
}

#[test]
fn a_fork_bomb_is_refused_more_processes_than_its_profile_says() {
    let boxed = profile("boxed", "extends = \"strict\"", "nproc = 64");
    let server = server(&boxed, &["boxed"]);
    let mut scene = Scene::of(&server, "boxed");
    let bomb = scene.light(&fork_bomb(1000));
    assert_eq!(bomb.name, "EAGAIN");
    scene.assert_unnoticed();
    let processes = bomb.processes();
    assert!((2..64).contains(&processes), "{processes}");
    bomb.end();
    scene.assert_restored();
}

#[test]
fn a_limit_on_processes_holds_for_a_users_own_uid_and_not_for_root() {
    let few = profile("few", "", "nproc = 64");
    let server = server(&few, &["few"]);
    let mut scene = Scene::of(&server, "few");
    let bomb = scene.light(&fork_bomb(200));
    // The kernel exempts kernel uid 0, in every user namespace (copy_process in kernel/fork.c).
    assert_eq!(bomb.name, if is_root() { "none" } else { "EAGAIN" });
    // What one environment has is counted for it alone, so another one has as many.
    scene.assert_unnoticed();
    let second = scene.light(&fork_bomb(20));
    assert_eq!(second.name, "none", "the control: the limit is on one environment");
    second.end();
    bomb.end();
    scene.assert_restored();
}

#[test]
fn a_thousand_processes_end_with_their_lease() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light(&fork_bomb(1500));
    assert_eq!(bomb.name, "none");
    eventually("a thousand processes", || (bomb.processes() >= 700).then_some(()));
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_restored();
}

/// Threads that do nothing: pause(2) needs no interpreter.
const THREADS: &str = r#"
attributes = ctypes.create_string_buffer(64)
libc.pthread_attr_init(attributes)
libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(32768))
pause = ctypes.cast(libc.pause, ctypes.c_void_p)

def act(count):
    thread = ctypes.c_ulong()
    failed = libc.pthread_create(ctypes.byref(thread), attributes, pause, None)
    if failed:
        raise OSError(failed, "")

outcome = refused(act, 10000)
assert int(status("Threads")) == 1 + int(outcome.split()[1]), status("Threads")
burn(outcome)
"#;

#[test]
fn ten_thousand_threads_end_with_their_lease() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light(THREADS);
    assert_eq!((bomb.name.as_str(), bomb.count), ("none", 10_000));
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_restored();
}

#[test]
fn threads_are_counted_as_processes_are() {
    let server = server("", &["strict"]);
    let mut scene = Scene::of(&server, "strict");
    let bomb = scene.light(THREADS);
    assert_eq!(bomb.name, "EAGAIN");
    // Init is one of the 1,024.
    assert_eq!(bomb.count, 1022);
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_restored();
}

/// States of all processes in sight, one letter each (proc_pid_stat(5)).
const STATES: &str = "result = ''.join(sorted(read(f'/proc/{entry}/stat').rsplit(')', 1)[1][1] \
                      for entry in os.listdir('/proc') if entry.isdigit()))";

#[test]
fn orphans_are_reaped_while_the_lease_goes_on() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light(
        "for _ in range(500):\n if os.fork() == 0:\n  os.fork()\n  os._exit(0)\n os.wait()\n\
         burn('none 500')",
    );
    let probe = zyg_tests::Probe::new();
    eventually("the end of orphans", || {
        let states = probe.one_inside(&bomb.lease, STATES);
        (!states.contains('Z')).then_some(())
    });
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_restored();
}

#[test]
fn zombies_of_a_careless_parent_end_with_their_lease() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light(
        "children = [os.fork() or os._exit(0) for _ in range(1000)]\n\
         for child in children:\n os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n\
         burn('none 1000')",
    );
    let states = zyg_tests::Probe::new().one_inside(&bomb.lease, STATES);
    assert_eq!(states.matches('Z').count(), 1000, "the control: they are there");
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_restored();
}

#[test]
fn a_bomb_that_its_client_hangs_up_on_ends_as_well() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let client = server.client();
    let lease = client.acquire(&LeaseOptions::new()).unwrap();
    let (child, _) = zyg_tests::Probe::new().resident(
        &lease,
        "for _ in range(100):\n if os.fork() == 0:\n  os.setsid()\n  signal.pause()\nsay('')\nsignal.pause()",
    );
    scene.assert_unnoticed();
    let pidfd = lease.pidfd().try_clone_to_owned().unwrap();
    drop((child, lease, client));
    zyg_tests::wait_readable(&pidfd, "the end of the lease");
    scene.assert_restored();
}
