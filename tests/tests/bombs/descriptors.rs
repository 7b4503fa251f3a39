//! Descriptors, and what the kernel keeps behind them.

use crate::scene::{Scene, assert_limited, server};
use std::fs;
use std::io::Read;
use zyg_tests::Probe;
use zygote_client::{LeaseOptions, Stdio};

#[test]
fn descriptors_are_bounded() {
    for open in [
        "os.open('/dev/null', os.O_RDONLY)",
        "os.memfd_create('f')",
        "check(libc.epoll_create1(0))",
        "check(libc.timerfd_create(1, 0))",
        "check(libc.eventfd(0, 0))",
        "socket.socket()",
    ] {
        let code = format!("burn(refused(lambda _: held.append({open}), 300))");
        assert_limited("nofile = 256", &code, "EMFILE", 253);
    }
}

#[test]
fn what_pipes_and_sockets_hold_is_bounded_by_their_number() {
    let fill = "end.setblocking(False)\n  try:\n   while True:\n    end.send(b'x' * 4096)\n  \
                except BlockingIOError:\n   pass";
    let sockets = format!(
        "def act(_):\n pair = socket.socketpair()\n held.append(pair)\n for end in pair:\n  {fill}\n\
         burn(refused(act, 150))"
    );
    assert_limited("nofile = 256", &sockets, "EMFILE", 127);
    let pipes = "def act(_):\n reading, writing = os.pipe()\n os.set_blocking(writing, False)\n \
                 try:\n  while True:\n   os.write(writing, b'x' * 4096)\n except BlockingIOError:\n  \
                 pass\nburn(refused(act, 150))";
    assert_limited("nofile = 256", pipes, "EMFILE", 127);
}

#[test]
fn timers_and_queued_signals_are_bounded() {
    let timers = "burn(refused(lambda _: check(libc.timer_create(1, None, \
                  ctypes.byref(ctypes.c_void_p()))), 1000))";
    assert_limited("sigpending = 100", timers, "EAGAIN", 100);
    let signals = "import ctypes\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])\n\
                   burn(refused(lambda _: check(libc.sigqueue(os.getpid(), \
                   int(signal.SIGRTMIN), ctypes.c_void_p())), 1000))";
    assert_limited("sigpending = 100", signals, "EAGAIN", 100);
}

#[test]
fn one_environment_has_half_of_its_users_inotify_instances() {
    let one = "check(libc.inotify_init1(0))";
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap();
    let most: usize = most.trim().parse().unwrap();
    let watch = format!(
        "burn(refused(lambda _: held.append(check(libc.inotify_init1(0))), {}))",
        most / 2 + 1
    );
    let server = server("", &["strict"]);
    let mut scene = Scene::of(&server, "strict");
    for profile in ["default", "strict"] {
        let bomb = scene.light_under(profile, &format!("raise_descriptors()\n{watch}"));
        assert_eq!(bomb.name, "EMFILE");
        assert!(bomb.count <= most / 2, "{} of {most}", bomb.count);
        assert_eq!(scene.bystander_tries(one), "ok");
        assert_eq!(Probe::new().one_outside(one), "ok", "the host");
        scene.assert_unnoticed();
        bomb.end();
    }
    scene.assert_restored();
}

#[test]
fn output_that_nobody_reads_stops_its_writer_and_nobody_else() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let lease = scene.observer().lease().unwrap();
    let mut floods: Vec<_> = (0..8)
        .map(|_| {
            lease.command("yes").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    scene.assert_unnoticed();
    let mut some = [0; 1 << 20];
    let stdout = floods[0].stdout.as_mut().unwrap();
    stdout.read_exact(&mut some).unwrap();
    assert!(some.starts_with(b"y\ny\n"), "the control: it goes on when it is read");
    scene.assert_unnoticed();
    let pidfd = lease.pidfd().try_clone_to_owned().unwrap();
    lease.release().unwrap();
    zyg_tests::wait_readable(&pidfd, "the end of the lease");
    drop(floods);
    let full = scene.light(
        "reading, writing = os.pipe()\nos.set_blocking(writing, False)\n\
         burn(refused(lambda _: os.write(writing, b'x' * 4096), 100))",
    );
    assert_eq!((full.name.as_str(), full.count), ("EAGAIN", 16), "by name, who does not wait");
    full.end();
    scene.assert_restored();
}

#[test]
fn locks_on_a_file_of_the_hosts_end_with_their_lease() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let shared = server.directory().join("shared");
    fs::write(&shared, "").unwrap();
    let bomb = scene.light_in(
        LeaseOptions::new().ro_bind(&shared, "/tmp/shared"),
        "import fcntl\nfile = os.open('/tmp/shared', os.O_RDONLY)\n\
         burn(refused(lambda count: fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 2 * count), \
         5000))",
    );
    assert_eq!((bomb.name.as_str(), bomb.count), ("none", 5_000));
    let lock = "import fcntl\nfcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)";
    let probe = Probe::new().with_path("path", &shared);
    assert_eq!(probe.one_outside(lock), "EAGAIN", "the control: they are there");
    scene.assert_unnoticed();
    bomb.end();
    assert_eq!(probe.one_outside(lock), "ok");
    scene.assert_restored();
}
