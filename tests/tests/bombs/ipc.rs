//! SysV IPC and POSIX message queues.

use crate::scene::{Scene, profile, server};
use zyg_tests::Probe;

/// Fills a table of the ipc namespace, twice; the bystander and the host have their own.
fn assert_own_table(act: &str, most: usize, host: &str) {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let code = format!("burn(refused(lambda _: {act}, {}))", 2 * most);
    for _ in 0..2 {
        let bomb = scene.light(&code);
        assert_eq!(bomb.name, "ENOSPC");
        assert!(bomb.count <= most, "{}", bomb.count);
        assert_eq!(scene.bystander_tries(act), "ok");
        assert_eq!(Probe::new().one_outside(host), "ok");
        scene.assert_unnoticed();
        bomb.end();
    }
    scene.assert_restored();
}

fn limit(name: &str, field: usize) -> usize {
    let values = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap();
    values.split_whitespace().nth(field).unwrap().parse().unwrap()
}

#[test]
fn segments_of_shared_memory_are_bounded_by_their_own_namespace() {
    let get = "check(libc.shmget(0, ctypes.c_size_t(4096), 0o600))";
    let host = "own = check(libc.shmget(0, ctypes.c_size_t(4096), 0o600))\n\
                check(libc.shmctl(own, 0, None))";
    assert_own_table(get, limit("shmmni", 0), host);
}

#[test]
fn message_queues_are_bounded_by_their_own_namespace() {
    let get = "check(libc.msgget(0, 0o600))";
    let host = "own = check(libc.msgget(0, 0o600))\ncheck(libc.msgctl(own, 0, None))";
    assert_own_table(get, limit("msgmni", 0), host);
}

#[test]
fn semaphores_are_bounded_by_their_own_namespace() {
    let get = "check(libc.semget(0, 1, 0o600))";
    let host = "own = check(libc.semget(0, 1, 0o600))\ncheck(libc.semctl(own, 0, 0))";
    assert_own_table(get, limit("sem", 3), host);
}

#[test]
fn what_one_queue_holds_is_bounded() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light(
        "queue = check(libc.msgget(0, 0o600))\n\
         message = ctypes.create_string_buffer(b'\\x01' + b'\\0' * 7 + b'x' * 1024)\n\
         IPC_NOWAIT = 0o4000\n\
         burn(refused(lambda _: check(libc.msgsnd(queue, message, ctypes.c_size_t(1024), \
         IPC_NOWAIT)), 1000))",
    );
    assert_eq!(bomb.name, "EAGAIN");
    assert!(bomb.count <= limit("msgmnb", 0) / 1024, "{}", bomb.count);
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_restored();
}

/// Opens POSIX queues of ten messages of 8 KiB, some 90 KB of the limit each.
const QUEUES: &str = r#"
class Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("flags", "maxmsg", "msgsize", "curmsgs")]
    _fields_.append(("reserved", ctypes.c_long * 4))

attributes = Attributes(maxmsg=10, msgsize=8192)
def act(count):
    name = f"/{count}".encode()
    flags = os.O_CREAT | os.O_RDWR
    held.append(check(libc.mq_open(name, flags, 0o600, ctypes.byref(attributes))))

burn(refused(act, 3))
"#;

#[test]
fn bytes_of_posix_queues_are_bounded_for_each_environment() {
    let small = profile("small", "", "msgqueue = \"200K\"");
    let server = server(&small, &["small"]);
    let mut scene = Scene::of(&server, "small");
    for _ in 0..2 {
        let bomb = scene.light(QUEUES);
        assert_eq!((bomb.name.as_str(), bomb.count), ("EMFILE", 2));
        scene.assert_unnoticed();
        // What is counted for one is not for the other.
        let second = scene.light(QUEUES);
        assert_eq!((second.name.as_str(), second.count), ("EMFILE", 2));
        second.end();
        bomb.end();
    }
    let control = scene.light_under("default", QUEUES);
    assert_eq!(control.name, "none");
    control.end();
    scene.assert_restored();
}
