//! A real init, taken over: by root alone. Its channel and lifeline reach its own lease and nothing
//! else.

use crate::usurper::{Scene, acquire, answer, assert_runs, template_of, user};
use nix::libc;
use nix::unistd::Pid;
use std::os::fd::AsFd;
use zyg_protocol::message::{
    ExitStatus, FromInit, Lifeline, Reply, Request, ToInit, ToTemplate, Usage,
};
use zyg_tests::{Raw, RawLease, Taken, connect_as, is_root, take_over, wait_readable};

const READY: Lifeline = Lifeline::Ready { spawn_us: 1 };

/// The number of the process behind a pidfd.
fn pid_behind(lease: &RawLease) -> Pid {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fdinfo/{}", lease.pidfd.as_raw_fd());
    let info = std::fs::read_to_string(path).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap();
    Pid::from_raw(line.trim().parse().unwrap())
}

/// An ordinary user's init is of a user namespace that its user has made, and yet none of his
/// processes may trace it: its memory is the template's, from before that namespace.
#[test]
fn a_real_init_is_nobodys_but_roots_to_take() {
    let scene = Scene::new();
    let client = connect_as(user(), scene.server.socket());
    client.say(&Request::Acquire(acquire(1)));
    let lease = answer(&client).unwrap();
    let taken = take_over(pid_behind(&lease));
    if is_root() {
        assert_eq!(taken.unwrap().sockets().len(), 2, "channel and lifeline");
        return;
    }
    assert_eq!(taken.map(|_| ()), Err("EPERM".to_owned()));
    // It goes on as if nothing had been tried.
    assert_runs(&lease);
    let template = template_of(&scene.server, crate::usurper::USURPED, user());
    assert!(take_over(template).is_ok(), "the control: of his template a user may");
}

/// A real lease of the usurped pool's, its init taken over: lifeline and channel.
struct Init {
    lease: RawLease,
    lifeline: Raw,
    channel: Raw,
    taken: Taken,
}

fn usurp(client: &Raw) -> Init {
    client.say(&Request::Acquire(acquire(1)));
    let lease = answer(client).unwrap();
    let mut taken = take_over(pid_behind(&lease)).unwrap();
    let mut sockets = taken.sockets().into_iter();
    let (lifeline, channel) = (sockets.next().unwrap(), sockets.next().unwrap());
    Init { lease, lifeline: Raw::of(lifeline), channel: Raw::of(channel), taken }
}

fn play(act: impl Fn(Init)) {
    if !is_root() {
        // Not to be had by an ordinary user: shown above.
        return;
    }
    Scene::new().play(&[("a real init", &|usurper| {
        // Of a pool whose template is the real one.
        let client = connect_as(0, usurper.server.socket());
        act(usurp(&client));
        assert!(matches!(ask_status(&client), Reply::Status { .. }));
        client.say(&Request::Acquire(acquire(2)));
        assert_runs(&answer(&client).unwrap());
    })]);
}

fn ask_status(client: &Raw) -> Reply {
    client.say(&Request::Status { request: 9 });
    client.reply().expect("the session goes on")
}

#[test]
fn its_channel_reaches_its_own_client() {
    play(|init| {
        let exited = FromInit::Exited {
            command: 9,
            status: ExitStatus::Signal { signal: libc::SIGKILL, core_dumped: false },
            usage: Usage::default(),
        };
        init.channel.say(&exited);
        assert_eq!(init.lease.init.from_init(), Some(exited));
        init.channel.say_with(&FromInit::Started { command: 1, pid: 1 }, &[init.lifeline.as_fd()]);
        assert_eq!(init.lease.init.hear::<FromInit>().unwrap().1.len(), 1);
        init.channel.send(b"garbage", &[]);
        // What the client says comes to the usurper: that is all there is to be had.
        init.lease.init.tell(&ToInit::ExecStored { command: 1 });
        assert!(matches!(init.channel.hear(), Some((ToInit::ExecStored { .. }, _))));
    });
}

#[test]
fn its_lifeline_ends_its_own_lease() {
    for offence in [0, 1, 2, 3] {
        play(|init| {
            match offence {
                0 => init.lifeline.say(&READY),
                1 => init.lifeline.send(&[0xa5; 100], &[]),
                2 => init.lifeline.say(&ToTemplate::Destroy { slot: 1 }),
                _ => init.lifeline.say_with(&READY, &[init.channel.as_fd()]),
            }
            // Killed by its template, though it stands still.
            wait_readable(&init.lease.pidfd, "the end of the lease");
        });
    }
}

#[test]
fn one_that_has_spoken_and_goes_on_harms_nobody() {
    play(|init| {
        init.channel.say(&FromInit::Prepared { read_only: Vec::new() });
        assert!(init.lease.init.from_init().is_some());
        init.taken.go_on();
        assert_runs(&init.lease);
    });
}
