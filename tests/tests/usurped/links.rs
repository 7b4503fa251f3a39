//! On a template's link: what is no message, what is not asked, what is said twice. Whoever breaks a
//! rule is cast out, and his pool gets another template.

use crate::usurper::{Act, Scene, Usurper};
use nix::libc;
use std::os::fd::AsFd;
use zyg_protocol::codec::Message;
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::{
    Bytes, Failure, FromInit, FromTemplate, Lifeline, Reply, Request, Status, Step, ToTemplate,
};
use zyg_tests::bytes_of;

/// Bytes that cost the link.
fn cast_out(bytes: Vec<u8>) -> impl Fn(&Usurper<'_>) {
    move |usurper| {
        usurper.link.send(&bytes, &[]);
        usurper.assert_cast_out();
    }
}

/// A message that costs the link.
fn cast_out_for<M: Message>(message: M) -> impl Fn(&Usurper<'_>) {
    cast_out(bytes_of(&message))
}

fn failure() -> Failure {
    Failure { step: Step::Clone, errno: libc::EAGAIN, subject: Bytes::new() }
}

fn ready(paths: usize) -> FromTemplate {
    let read_only = vec![Bytes::from(&b"/x"[..]); paths];
    FromTemplate::Ready { build_us: 1, read_only }
}

fn good() -> Vec<u8> {
    bytes_of(&FromTemplate::Gone { slot: 1 })
}

#[test]
fn what_is_no_message_costs_the_link() {
    let mut another_version = good();
    another_version[4] = 99;
    let mut oversized = good();
    oversized.resize(MESSAGE_BYTES_MAX + 1, 0);
    let mut surplus = good();
    surplus.push(0);
    let acts: &[Act<'_>] = &[
        ("nothing", &cast_out(Vec::new())),
        ("half a header", &cast_out(good()[..8].to_vec())),
        ("half a message", &cast_out(good()[..good().len() - 1].to_vec())),
        ("garbage", &cast_out(vec![0xa5; 1000])),
        ("another version", &cast_out(another_version)),
        ("too much", &cast_out(oversized)),
        ("surplus bytes", &cast_out(surplus)),
        ("a client's request", &cast_out_for(Request::Status { request: 1 })),
        (
            "a server's reply",
            &cast_out_for(Reply::Status { request: 1, status: Status::default() }),
        ),
        ("a server's order", &cast_out_for(ToTemplate::Spawn { slot: 1, urgent: false })),
        ("an init's report", &cast_out_for(Lifeline::Ready { spawn_us: 1 })),
        ("an init's answer", &cast_out_for(FromInit::Prepared { read_only: Vec::new() })),
        ("hanging up", &|usurper| {
            let _ = nix::sys::socket::shutdown(
                std::os::fd::AsRawFd::as_raw_fd(&usurper.link.as_fd()),
                nix::sys::socket::Shutdown::Both,
            );
        }),
    ];
    Scene::new().play(acts);
}

#[test]
fn what_nobody_ordered_costs_the_link() {
    let unable = || FromTemplate::Unable(failure());
    let failed = |slot| FromTemplate::SpawnFailed { slot, failure: failure() };
    let acts: &[Act<'_>] = &[
        ("ready again", &cast_out_for(ready(0))),
        ("ready again, at length", &cast_out_for(ready(20_000))),
        ("unable after all", &cast_out_for(unable())),
        ("a failure out of nothing", &cast_out_for(failed(0))),
        ("a failure in no slot", &cast_out_for(failed(u64::MAX))),
        ("a failure twice", &|usurper| {
            let slot = usurper.ordered();
            usurper.say(&failed(slot));
            usurper.say(&failed(slot));
            usurper.assert_cast_out();
        }),
        ("a failure after a success", &|usurper| {
            let (fake, _lease) = usurper.bear_leased();
            usurper.say(&failed(fake.slot));
            usurper.assert_cast_out();
        }),
    ];
    Scene::new().play(acts);
}

#[test]
fn the_end_of_what_there_is_not_changes_nothing() {
    let gone = |slot| FromTemplate::Gone { slot };
    let acts: &[Act<'_>] = &[
        ("the end of nothing", &|usurper| {
            for slot in [0, 1, 1 << 32, u64::MAX].into_iter().chain(1 << 32..(1 << 32) + 100) {
                usurper.say(&gone(slot));
            }
            assert_ne!(usurper.ordered(), 0);
        }),
        ("the end of what is ordered", &|usurper| {
            let slot = usurper.ordered();
            usurper.say(&gone(slot));
            usurper.say(&gone(slot));
            assert_ne!(usurper.ordered(), slot);
        }),
        ("the end of what is leased", &|usurper| {
            let (fake, lease) = usurper.bear_leased();
            usurper.say(&gone(fake.slot));
            // The lease is over: init's end of the lifeline sees it, the client has lost nothing
            // but what the usurper had.
            fake.lifeline.assert_closed::<Lifeline>();
            drop(lease);
            assert_ne!(usurper.ordered(), fake.slot);
        }),
    ];
    Scene::new().play(acts);
}
