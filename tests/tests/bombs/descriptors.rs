//! Descriptors, and what the kernel keeps behind them.

use crate::scene::{Bomb, Scene, assert_limited, server};
use std::fs;
use std::io::Read;
use zyg_tests::{Probe, Setup, is_root, skip};
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

/// What the kernel counts for an environment in `strict` it counts for nobody that there is outside.
#[test]
fn two_environments_in_strict_leave_root_and_others_what_is_theirs() {
    if !is_root() {
        eprintln!("NOT SHOWN: it takes root, for otherwise `strict` is its user's own matter");
        return;
    }
    let one = "check(libc.inotify_init1(0))";
    let all = "raise_descriptors()\n\
               burn(refused(lambda _: held.append(check(libc.inotify_init1(0))), 1000))";
    let server = server("", &["strict"]);
    let mut scene = Scene::of(&server, "default");
    let mut stranger = Setup::default().start();
    let bombs = [scene.light_under("strict", all), scene.light_under("strict", all)];
    assert_eq!(bombs.each_ref().map(|bomb| bomb.name.as_str()), ["EMFILE", "EMFILE"]);
    assert_eq!(Probe::new().one_outside(one), "ok", "the host's root");
    let theirs = stranger.client().acquire(LeaseOptions::new().profile("strict")).unwrap();
    assert_eq!(Probe::new().one_inside(&theirs, one), "ok", "another template's");
    drop(theirs);
    stranger.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(stranger.wait().code(), Some(0));
    scene.assert_unnoticed();
    bombs.into_iter().for_each(Bomb::end);
    scene.assert_restored();
}

#[test]
fn one_environment_has_half_of_its_users_inotify_watches() {
    let read = |name: &str| -> usize {
        let path = format!("/proc/sys/{name}");
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    };
    let (most, own) = (read("fs/inotify/max_user_watches"), read("user/max_inotify_watches"));
    if most > 200_000 || own < most {
        return skip(
            "the host allows a user so many that to use them up takes too long, or fewer here",
        );
    }
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    // Each directory is watched for itself.
    let bomb = scene.light(&format!(
        "instance = check(libc.inotify_init1(0))
os.mkdir('/tmp/watched')
os.chdir('/tmp/watched')
def watch(count):
    os.mkdir(str(count))
    check(libc.inotify_add_watch(instance, str(count).encode(), 0xFFF))
burn(refused(watch, {most}))"
    ));
    assert_eq!((bomb.name.as_str(), bomb.count), ("ENOSPC", most / 2));
    let one = "check(libc.inotify_add_watch(check(libc.inotify_init1(0)), b'/tmp', 0xFFF))";
    assert_eq!(scene.bystander_tries(one), "ok");
    assert_eq!(Probe::new().one_outside(one), "ok", "the host");
    scene.assert_unnoticed();
    bomb.end();
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
