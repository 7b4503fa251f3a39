//! What a template or an init gives for a reason is text of its user's: it comes to the log and to
//! clients in one line, bounded, and moves no cursor.

use crate::usurper::{Act, Order, Scene, Usurper, answer};
use nix::libc;
use zyg_protocol::message::{
    Acquire, Bytes, Denial, Failure, FromTemplate, Lifeline, Request, Step,
};
use zyg_tests::{Raw, eventually};

/// Forges a line of the log, clears a screen, turns the direction of what follows.
const FORGED: &str =
    "/x\n[2026-01-01T00:00:00Z ERROR zygote::server] forged\r\u{1b}[2J\u{7}\u{9b}31m\u{202e}";

/// Subjects that would fill a log, or not fit into the message to a client.
fn subjects() -> [Vec<u8>; 4] {
    [FORGED.into(), vec![b'\n'; 60_000], vec![0xff; 60_000], vec![b'x'; 65_000]]
}

fn failure(step: Step, subject: Vec<u8>) -> Failure {
    Failure { step, errno: libc::ENOENT, subject: Bytes::from(subject) }
}

/// One line that shows what it consists of.
fn assert_plain(text: &str) {
    let odd = text.chars().find(|c| c.is_control() || *c == '\u{202e}');
    assert_eq!(odd, None, "{text:?}");
    assert!(text.len() < 6_000, "{} bytes", text.len());
}

/// Why the usurped pool's latest build has failed, as anybody is told.
fn why_failing(usurper: &Usurper<'_>, word: &str) -> String {
    eventually("a reason", || usurper.pool().failing.filter(|reason| reason.contains(word)))
}

fn play(act: impl Fn(&Usurper<'_>, Vec<u8>)) {
    let acts = subjects().map(|subject| {
        let act = &act;
        move |usurper: &Usurper<'_>| {
            act(usurper, subject.clone());
            // Each line has its date first, and the year of this machine's clock is not that.
            for line in usurper.server.log().lines() {
                assert!(!line.starts_with("[2026-01-01T00:00:00Z ERROR"), "{line:?}");
                assert_plain(line);
            }
        }
    });
    let acts: Vec<Act<'_>> = acts.iter().map(|act| ("a text", act as _)).collect();
    Scene::new().play(&acts);
}

#[test]
fn why_a_zygote_was_not_made() {
    play(|usurper, subject| {
        let slot = usurper.ordered();
        usurper.say(&FromTemplate::SpawnFailed { slot, failure: failure(Step::Clone, subject) });
        assert_plain(&why_failing(usurper, "clone a zygote"));
    });
}

#[test]
fn why_a_zygote_was_not_set_up() {
    play(|usurper, subject| {
        let Order { lifeline, .. } = usurper.order();
        lifeline.say(&Lifeline::Unable(failure(Step::Devpts, subject)));
        assert_plain(&why_failing(usurper, "mount devpts"));
    });
}

#[test]
fn why_a_source_was_not_opened() {
    play(|usurper, subject| {
        let (request, ticket) = usurper.ask_for_bind("/asked");
        let failure = failure(Step::OpenTree, subject);
        usurper.say(&FromTemplate::OpenFailed { ticket, failure });
        match answer(&usurper.client) {
            Err(denial @ Denial::MountRefused { .. }) => assert_plain(&denial.to_string()),
            other => panic!("{other:?} to request {request}"),
        }
    });
}

#[test]
fn what_a_client_asks_for_is_as_plain() {
    let scene = Scene::new();
    for (cwd, told) in [("not/absolute\n", "not/absolute\\n"), ("/a/\u{1b}[2J/..", "\\u{1b}")] {
        let client = Raw::connect(scene.server.socket());
        let cwd = Some(Bytes::from(cwd.as_bytes()));
        client.say(&Request::Acquire(Acquire { cwd, ..Acquire::default() }));
        let denied = answer(&client).unwrap_err().to_string();
        assert_plain(&denied);
        assert!(denied.contains(told), "{denied}");
    }
    scene.server.log().lines().for_each(assert_plain);
}
