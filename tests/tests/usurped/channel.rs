//! On a lease's channel, toward the client library: whatever an init says that is in a stranger's
//! hands, the client gets an error or an answer, neither panics nor waits for ever, and goes on with
//! its other leases.
//!
//! The usurper reports a zygote of his own, and so has init's end of a channel in hand.

use crate::usurper::{Order, Scene, Standins, USURPED, Usurper};
use nix::libc;
use nix::unistd::getuid;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::{
    Bytes, ExitStatus, Failure, FromInit, Request, Step, ToInit, ToTemplate, Usage,
};
use zyg_tests::{Raw, eventually, soon};
use zygote_client::{AcquireError, Client, Lease, LeaseOptions};

/// A lease whose init is the usurper, and init's end of its channel. The lease may need to be
/// prepared: then it is still on its way.
struct Play<'a> {
    usurper: Usurper<'a>,
}

type Acquired = Result<Lease, AcquireError>;

impl<'a> Play<'a> {
    fn begin(scene: &'a Scene, standins: &'a Standins) -> Self {
        Self { usurper: Usurper::of(getuid().as_raw(), &scene.server, standins) }
    }

    /// Starts an acquire, which the usurper fills.
    fn acquire(&self, mut options: LeaseOptions) -> (std::thread::JoinHandle<Acquired>, Raw) {
        let Order { lifeline, .. } = self.usurper.unwanted_order();
        options.profile(USURPED);
        let client = self.usurper.server.client();
        let acquiring = std::thread::spawn(move || client.acquire(&options));
        eventually("a waiter", || (self.usurper.pool().waiters == 1).then_some(()));
        let channel = self.usurper.report(&lifeline, &self.usurper.standins.pidfds[0]);
        self.usurper.keep(lifeline);
        (acquiring, channel)
    }

    fn lease(&self) -> (Lease, Raw) {
        let (acquiring, channel) = self.acquire(LeaseOptions::new());
        (soon("the acquire", move || acquiring.join().unwrap()).unwrap(), channel)
    }
}

/// What an init says, after it has heard of a command.
type Lines<'a> = &'a (dyn Fn(&Raw, u32) + Sync);

/// Whether that is what has to become of it.
type Verdict = fn(&Outcome) -> bool;

/// What an init says is named, and what becomes of it.
type Line<'a> = (&'a str, Lines<'a>, Verdict);

/// Plays each scene on a lease of its own: a command is started, the init answers so, and in the end
/// hangs up.
fn play(scenes: &[Line<'_>]) {
    play_with(scenes, |command| {
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        child.wait().map_err(|error| error.to_string())
    });
}

/// The same where the command is run like this.
fn play_with(scenes: &[Line<'_>], run: fn(&mut zygote_client::Command<'_>) -> Outcome) {
    let (scene, standins) = (Scene::new(), Standins::new());
    let bystander = scene.server.client();
    let kept = bystander.lease().unwrap();
    for (name, say, expected) in scenes {
        let play = Play::begin(&scene, &standins);
        let (lease, channel) = play.lease();
        let running = std::thread::spawn(move || {
            let mut command = lease.command("x");
            run(command.stdin(zygote_client::Stdio::null()))
        });
        let command = heard_of(&channel);
        say(&channel, command);
        drop(channel);
        let outcome = soon(name, move || running.join().unwrap());
        assert!(expected(&outcome), "{name}: {outcome:?}");
        // Whoever it was, his other leases and sessions go on.
        assert!(kept.command("true").status().unwrap().success());
        assert!(bystander.lease().unwrap().command("true").status().unwrap().success());
    }
}

type Outcome = Result<std::process::ExitStatus, String>;

fn heard_of(channel: &Raw) -> u32 {
    match channel.hear::<ToInit>().expect("the client is there").0 {
        ToInit::Exec(exec) => exec.command,
        other => panic!("{other:?}"),
    }
}

fn started(command: u32) -> FromInit {
    FromInit::Started { command, pid: 2 }
}

fn exited(command: u32) -> FromInit {
    exited_with(command, ExitStatus::Code(3))
}

fn exited_with(command: u32, status: ExitStatus) -> FromInit {
    let most = u64::MAX;
    let usage = Usage { user_us: most, system_us: most, wall_us: most, max_rss_kib: most };
    FromInit::Exited { command, status, usage }
}

fn by_signal(command: u32, signal: i32) -> FromInit {
    exited_with(command, ExitStatus::Signal { signal, core_dumped: true })
}

fn failed(command: u32, subject: &[u8]) -> FromInit {
    let subject = Bytes::from(subject);
    FromInit::Failed { command, failure: Failure { step: Step::Execute, errno: -7, subject } }
}

fn is_malformed(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|error| error.contains("malformed"))
}

fn is_ended(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|error| error.contains("ended the lease"))
}

fn is_three(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|status| status.code() == Some(3))
}

fn is_plain_error(outcome: &Outcome) -> bool {
    let plain = |error: &String| error.len() < 6_000 && !error.chars().any(char::is_control);
    outcome.as_ref().is_err_and(plain)
}

#[test]
fn an_init_that_hangs_up_has_ended_its_lease() {
    play(&[
        ("at once", &|_, _| {}, is_ended),
        ("once it runs", &|init, command| init.say(&started(command)), is_ended),
        ("without a start", &|init, command| init.say(&exited(command)), is_ended),
        ("with an empty message", &|init, _| init.send(&[], &[]), is_ended),
        (
            "after a flood",
            &|init, command| {
                for other in 0..20_000 {
                    init.say(&started(command + 1 + other));
                    init.say(&exited(command + 1 + other));
                }
            },
            is_ended,
        ),
        (
            "while it runs, with somebody else's end",
            &|init, command| {
                init.say(&started(command));
                init.say(&exited(command + 1));
            },
            is_ended,
        ),
        (
            "after an unasked preparation",
            &|init, _| {
                init.say(&FromInit::Prepared { read_only: vec![Bytes::from(&b"/x"[..]); 10_000] });
                init.say(&FromInit::PrepareFailed(Failure {
                    step: Step::Layer,
                    errno: libc::EIO,
                    subject: Bytes::new(),
                }));
            },
            is_ended,
        ),
    ]);
}

#[test]
fn an_init_that_breaks_the_wires_rules_has_broken_its_lease() {
    let mut another_version = zyg_tests::bytes_of(&started(1));
    another_version[4] = 99;
    play(&[
        ("garbage", &|init, _| init.send(&[0xa5; 1000], &[]), is_malformed),
        ("half a header", &|init, _| init.send(b"zyg\0", &[]), is_malformed),
        ("too much", &|init, _| init.send(&[0; MESSAGE_BYTES_MAX + 1], &[]), is_malformed),
        ("another version", &|init, _| init.send(&another_version, &[]), is_malformed),
        ("a request", &|init, _| init.say(&Request::Status { request: 1 }), is_malformed),
        ("an order", &|init, _| init.say(&ToTemplate::Destroy { slot: 1 }), is_malformed),
        (
            "no signal",
            &|init, command| {
                init.say(&started(command));
                init.say(&by_signal(command, 0));
            },
            is_malformed,
        ),
        (
            "a signal below all",
            &|init, command| {
                init.say(&started(command));
                init.say(&by_signal(command, i32::MIN));
            },
            is_malformed,
        ),
        (
            "a signal beyond all",
            &|init, command| {
                init.say(&started(command));
                init.say(&by_signal(command, 65));
            },
            is_malformed,
        ),
    ]);
}

#[test]
fn descriptors_ride_along_where_they_were_asked_for_alone() {
    let null = File::open("/dev/null").unwrap();
    let many = |init: &Raw, message: &FromInit, count: usize| {
        init.say_with(message, &vec![null.as_fd(); count]);
    };
    play(&[
        (
            "a terminal that nobody wanted",
            &|init, command| many(init, &started(command), 1),
            is_malformed,
        ),
        ("two", &|init, command| many(init, &started(command), 2), is_malformed),
        ("64", &|init, command| many(init, &started(command), 64), is_malformed),
        ("with a failure", &|init, command| many(init, &failed(command, b""), 1), is_malformed),
        (
            "with an end",
            &|init, command| {
                init.say(&started(command));
                many(init, &exited(command), 1);
            },
            is_malformed,
        ),
        ("with nobody's end", &|init, command| many(init, &exited(command + 1), 1), is_malformed),
    ]);
}

#[test]
fn who_waits_for_the_end_alone_is_told_of_it_or_of_a_failure() {
    let null = File::open("/dev/null").unwrap();
    let scenes: &[Line<'_>] = &[
        ("the control: the end", &|init, command| init.say(&exited(command)), is_three),
        (
            "a start as well",
            &|init, command| {
                init.say(&started(command));
                init.say(&exited(command));
            },
            is_three,
        ),
        ("a start alone", &|init, command| init.say(&started(command)), is_ended),
        ("a failure", &|init, command| init.say(&failed(command, b"")), is_plain_error),
        (
            "a start and a failure",
            &|init, command| {
                init.say(&started(command));
                init.say(&failed(command, b""));
            },
            |outcome| is_plain_error(outcome) || is_malformed(outcome),
        ),
        (
            "a terminal that nobody wanted",
            &|init, command| init.say_with(&started(command), &[null.as_fd()]),
            is_malformed,
        ),
        ("nothing", &|_, _| {}, is_ended),
    ];
    play_with(scenes, |command| command.status().map_err(|error| error.to_string()));
}

#[test]
fn what_makes_sense_is_believed_once() {
    play(&[
        (
            "the control: as it should be",
            &|init, command| {
                init.say(&started(command));
                init.say(&exited(command));
            },
            is_three,
        ),
        (
            "the end before the start",
            &|init, command| {
                init.say(&exited(command));
                init.say(&started(command));
            },
            is_three,
        ),
        (
            "the end twice",
            &|init, command| {
                init.say(&started(command));
                init.say(&exited(command));
                init.say(&exited(command));
            },
            |outcome| is_three(outcome) || is_malformed(outcome),
        ),
        (
            "the start twice",
            &|init, command| {
                init.say(&started(command));
                init.say(&started(command));
                init.say(&exited(command));
            },
            |outcome| is_three(outcome) || is_malformed(outcome),
        ),
        (
            "a start and a failure",
            &|init, command| {
                init.say(&started(command));
                init.say(&failed(command, b""));
                init.say(&exited(command));
            },
            |outcome| is_three(outcome) || is_malformed(outcome),
        ),
        (
            "a failure and an end",
            &|init, command| {
                init.say(&failed(command, b"/x"));
                init.say(&exited(command));
            },
            is_plain_error,
        ),
        (
            "a failure in odd words",
            &|init, command| {
                init.say(&failed(command, b"/x\n\x1b[2J\x07\xc2\x9b31m"));
            },
            is_plain_error,
        ),
        (
            "a failure at length",
            &|init, command| {
                init.say(&failed(command, &[0xff; 60_000]));
            },
            is_plain_error,
        ),
    ]);
}

#[test]
fn a_terminal_is_had_by_who_asked_for_one() {
    let (scene, standins) = (Scene::new(), Standins::new());
    for (count, works) in [(0, false), (1, true)] {
        let play = Play::begin(&scene, &standins);
        let (lease, channel) = play.lease();
        let running = std::thread::spawn(move || {
            let size = zygote_client::TtySize { rows: 24, columns: 80 };
            lease.command("x").tty(size).spawn().map(drop).map_err(|error| error.to_string())
        });
        let null = File::open("/dev/null").unwrap();
        let command = heard_of(&channel);
        channel.say_with(&started(command), &vec![null.as_fd(); count]);
        let outcome = soon("the spawn", move || running.join().unwrap());
        assert_eq!(outcome.is_ok(), works, "{outcome:?}");
    }
}

#[test]
fn a_wait_with_an_end_ends_though_an_init_says_nothing_or_never_stops() {
    let (scene, standins) = (Scene::new(), Standins::new());
    for floods in [false, true] {
        let play = Play::begin(&scene, &standins);
        let (lease, channel) = play.lease();
        let running = std::thread::spawn(move || {
            let mut child = lease.command("x").stdin(zygote_client::Stdio::null()).spawn().unwrap();
            let ended = child.wait_timeout(Duration::from_millis(200)).unwrap();
            assert_eq!(ended, None);
            child.kill().unwrap();
            lease
        });
        let command = heard_of(&channel);
        channel.say(&started(command));
        // Until it hears of the kill, and so has stood its time.
        let talk = std::thread::spawn(move || {
            while floods && !crate::usurper::is_readable(&channel) {
                channel.say(&exited(command + 1));
            }
            let heard = channel.hear::<ToInit>().expect("the client is there").0;
            assert!(matches!(heard, ToInit::Signal { .. }), "{heard:?}");
        });
        drop(soon("the end of the wait", move || running.join().unwrap()));
        soon("the end of the talk", move || talk.join().unwrap());
    }
}

/// What an init says when it is to prepare.
type Answer<'a> = Box<dyn Fn(&Raw) + 'a>;

#[test]
fn a_preparation_that_an_init_plays_with_is_no_lease_or_a_lease() {
    let failure =
        |subject: &[u8]| Failure { step: Step::Layer, errno: 5, subject: subject.to_vec().into() };
    let paths = |count| FromInit::Prepared { read_only: vec![Bytes::from(&b"/x\n"[..]); count] };
    let scenes: [(&str, Answer<'_>, bool); 9] = [
        ("the control", Box::new(|init| init.say(&paths(0))), true),
        ("twice", Box::new(|init| (0..2).for_each(|_| init.say(&paths(1)))), true),
        ("at length", Box::new(|init| init.say(&paths(10_000))), true),
        ("hanging up", Box::new(|_| {}), false),
        ("garbage", Box::new(|init| init.send(&[0xa5; 100], &[])), false),
        ("another answer", Box::new(|init| init.say(&started(1))), false),
        ("descriptors", Box::new(|init| init.say_with(&paths(0), &[init.as_fd()])), false),
        (
            "odd words",
            Box::new(|init| init.say(&FromInit::PrepareFailed(failure(b"\n\x1b")))),
            false,
        ),
        (
            "both",
            Box::new(|init| {
                init.say(&FromInit::PrepareFailed(failure(b"x")));
                init.say(&paths(0));
            }),
            false,
        ),
    ];
    let (scene, standins) = (Scene::new(), Standins::new());
    for (name, say, works) in &scenes {
        let play = Play::begin(&scene, &standins);
        let mut options = LeaseOptions::new();
        options.hostname("played");
        let (acquiring, channel) = play.acquire(options);
        let heard = channel.hear::<ToInit>().expect("the client is there").0;
        assert!(matches!(heard, ToInit::Prepare(_)), "{heard:?}");
        say(&channel);
        drop(channel);
        let acquired = soon(name, move || acquiring.join().unwrap());
        assert_eq!(acquired.is_ok(), *works, "{name}: {acquired:?}");
        if let Err(error) = acquired {
            assert!(!error.to_string().chars().any(char::is_control), "{name}: {error:?}");
        }
        assert!(Client::connect(scene.server.socket()).unwrap().lease().is_ok());
    }
}

#[test]
fn zyg_run_fails_in_one_line_and_by_its_own_exit_code() {
    let (scene, standins) = (Scene::new(), Standins::new());
    for (say, code) in
        [(b"garbage".to_vec(), 125), (zyg_tests::bytes_of(&failed(1, b"/x\nforged \x1b[2J")), 126)]
    {
        let play = Play::begin(&scene, &standins);
        let Order { lifeline, .. } = play.usurper.unwanted_order();
        let mut run = scene.server.zyg("run");
        run.args(["-p", USURPED, "--chdir", "/", "--", "/usr/bin/true"]).current_dir("/");
        let running = std::thread::spawn(move || run.output().unwrap());
        eventually("a waiter", || (play.usurper.pool().waiters == 1).then_some(()));
        let channel = play.usurper.report(&lifeline, &standins.pidfds[0]);
        heard_of(&channel);
        channel.send(&say, &[]);
        let output = soon("the end of zyg run", move || running.join().unwrap());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(code), 1), "{said}");
        assert!(!said.trim_end().chars().any(char::is_control), "{said:?}");
    }
}
