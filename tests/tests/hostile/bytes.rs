//! What is not a message: the sender is told so where that is possible, and loses its session.

use crate::small_server;
use zyg_protocol::limits::{MESSAGE_BYTES_MAX, WIRE_VERSION};
use zyg_protocol::message::{Acquire, Mount, Refusal, Reply, Request, Scope, ToInit};
use zyg_tests::{Baseline, Raw, bytes_of};

/// A request of every kind of field.
fn good() -> Vec<u8> {
    bytes_of(&Request::Acquire(Acquire {
        request: 300,
        profile: Some("default".into()),
        wait_ms: Some(70_000),
        time_ms: Some(1),
        label: "a label".into(),
        cwd: Some(crate::b("/")),
        program: Some(crate::b("/bin/true")),
        mounts: vec![Mount::Tmpfs { target: crate::b("/x") }],
    }))
}

/// Says each of `messages` in a session of its own. Every one of these is refused and closed.
fn refused_for_each(messages: impl IntoIterator<Item = Vec<u8>>, expected: impl Fn(&Refusal)) {
    let server = small_server();
    let baseline = Baseline::of(&server);
    for message in messages {
        let client = Raw::connect(server.socket());
        client.send(&message, &[]);
        match client.reply() {
            Some(Reply::Refused(refusal)) => expected(&refusal),
            other => panic!("{message:?} was answered by {other:?}"),
        }
        assert_eq!(client.reply(), None);
    }
    baseline.assert_restored();
}

fn malformed(refusal: &Refusal) {
    assert!(matches!(refusal, Refusal::Malformed { .. }), "{refusal}");
}

/// Numbers that look random and are the same each time (xorshift).
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn nothing_at_all_is_no_offence() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let silent = Raw::connect(server.socket());
    baseline.observer().lease().unwrap().release().unwrap();
    drop(silent);
    baseline.assert_restored();
}

#[test]
fn an_empty_message_reads_as_a_hang_up() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let client = Raw::connect(server.socket());
    client.send(&[], &[]);
    assert_eq!(client.reply(), None);
    baseline.assert_restored();
}

#[test]
fn every_truncation_is_refused() {
    let good = good();
    refused_for_each((1..good.len()).map(|length| good[..length].to_vec()), malformed);
}

#[test]
fn surplus_bytes_are_refused() {
    let surplus = [1, 100, 10_000].map(|surplus| {
        let mut bytes = good();
        bytes.resize(bytes.len() + surplus, 0);
        bytes
    });
    // The same, with a header that says so.
    let announced = surplus.clone().map(|mut bytes| {
        let body = (bytes.len() - 16) as u32;
        bytes[8..12].copy_from_slice(&body.to_le_bytes());
        bytes
    });
    refused_for_each(surplus.into_iter().chain(announced), malformed);
}

#[test]
fn noise_is_refused() {
    let plain = (1..40).map(|seed| noise(seed as usize * 37, seed));
    // Behind a good header, so that the body itself is looked at.
    let dressed = (1..40).map(|seed| {
        let body = noise(seed as usize * 37, seed);
        let mut bytes = good();
        bytes.truncate(16);
        bytes[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend(body.into_iter().map(|byte| byte | 0x80));
        bytes
    });
    refused_for_each(plain.chain(dressed), malformed);
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    let versions = [0, WIRE_VERSION + 1, u16::MAX];
    let messages = versions.map(|version| {
        let mut bytes = good();
        bytes[4..6].copy_from_slice(&version.to_le_bytes());
        // What follows is of no interest then.
        bytes.extend(noise(50, 3));
        bytes
    });
    refused_for_each(messages, |refusal| match refusal {
        Refusal::WrongVersion { got, want } => {
            assert!(versions.contains(got));
            assert_eq!(*want, WIRE_VERSION);
        }
        other => panic!("{other}"),
    });
}

#[test]
fn a_message_of_another_conversation_is_refused() {
    let signal = ToInit::Signal { command: 1, signal: 9, scope: Scope::Process };
    let other = zyg_protocol::message::Lifeline::Ready { spawn_us: 1 };
    let build = zyg_protocol::message::ToTemplate::Spawn { slot: 1, urgent: false };
    refused_for_each([bytes_of(&signal), bytes_of(&other), bytes_of(&build)], malformed);
}

#[test]
fn a_reserved_field_in_use_is_refused() {
    let mut bytes = good();
    bytes[12] = 1;
    refused_for_each([bytes], malformed);
}

#[test]
fn more_bytes_than_a_message_may_have_are_refused() {
    let oversized = [MESSAGE_BYTES_MAX + 1, 100_000].map(|length| {
        let mut bytes = good();
        bytes.resize(length, 0);
        let body = (length - 16) as u32;
        bytes[8..12].copy_from_slice(&body.to_le_bytes());
        bytes
    });
    refused_for_each(oversized, malformed);
}

#[test]
fn what_was_granted_before_ends_with_the_session() {
    let server = small_server();
    let baseline = Baseline::of(&server);
    let client = Raw::connect(server.socket());
    let lease = client.lease();
    client.send(b"zyg", &[]);
    assert!(matches!(client.reply(), Some(Reply::Refused(Refusal::Malformed { .. }))));
    zyg_tests::wait_readable(&lease.pidfd, "the end of the lease");
    baseline.assert_restored();
}
