//! What is sent is what arrives, up to the bound and not a byte beyond.

use crate::strategies;
use proptest::prelude::*;
use std::fmt::Debug;
use zyg_protocol::codec::{DecodeError, EncodeError, Message, decode, encode};
use zyg_protocol::limits::{EXEC_BYTES_MAX, MESSAGE_BYTES_MAX};
use zyg_protocol::message::{Acquire, Bytes, Exec, PoolStatus, Reply, Request, Status, ToInit};

fn survives<M: Message + PartialEq + Debug>(message: &M) {
    let mut bytes = b"what an earlier message left".to_vec();
    encode(message, &mut bytes).expect("strategies stay below the bound");
    assert_eq!(decode::<M>(&bytes).as_ref(), Ok(message));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_request_arrives_as_sent(message in strategies::request()) {
        survives(&message);
    }
    #[test]
    fn a_reply_arrives_as_sent(message in strategies::reply()) {
        survives(&message);
    }
    #[test]
    fn a_message_to_init_arrives_as_sent(message in strategies::to_init()) {
        survives(&message);
    }
    #[test]
    fn a_message_from_init_arrives_as_sent(message in strategies::from_init()) {
        survives(&message);
    }
    #[test]
    fn a_message_to_a_template_arrives_as_sent(message in strategies::to_template()) {
        survives(&message);
    }
    #[test]
    fn a_message_from_a_template_arrives_as_sent(message in strategies::from_template()) {
        survives(&message);
    }
    #[test]
    fn a_message_on_a_lifeline_arrives_as_sent(message in strategies::lifeline()) {
        survives(&message);
    }
    #[test]
    fn a_message_to_a_zygote_arrives_as_sent(message in strategies::to_zygote()) {
        survives(&message);
    }
    #[test]
    fn a_stored_exec_is_read_as_written(message in strategies::exec()) {
        survives(&message);
    }
}

/// An exec whose encoding has as many bytes as `wrap`ped it may have.
fn exactly<M: Message>(wrap: impl Fn(Exec) -> M, bound: usize) -> (M, M) {
    let exec = |bytes: usize| Exec { program: Bytes::from(vec![b'x'; bytes]), ..Exec::default() };
    let mut buffer = Vec::new();
    // Close to the bound, for the length prefix to have its final size.
    encode(&wrap(exec(bound - 100)), &mut buffer).expect("below the bound");
    let fits = bound - 100 + (bound - buffer.len());
    (wrap(exec(fits)), wrap(exec(fits + 1)))
}

fn bound_is_sharp<M: Message + PartialEq + Debug>((fits, exceeds): (M, M), bound: usize) {
    let mut bytes = Vec::new();
    encode(&fits, &mut bytes).expect("it fits");
    assert_eq!(bytes.len(), bound);
    assert!(decode::<M>(&bytes) == Ok(fits));

    assert_eq!(encode(&exceeds, &mut bytes), Err(EncodeError::TooLong { bound }));
    assert!(bytes.is_empty(), "nothing of a refused message may be sent");
}

#[test]
fn a_message_may_fill_its_bound_and_not_exceed_it() {
    bound_is_sharp(exactly(ToInit::Exec, MESSAGE_BYTES_MAX), MESSAGE_BYTES_MAX);
}

#[test]
fn a_stored_exec_may_fill_its_larger_bound_and_not_exceed_it() {
    bound_is_sharp(exactly(|exec| exec, EXEC_BYTES_MAX), EXEC_BYTES_MAX);
}

/// The densest messages: every byte of the wire becomes as much memory as it can.
#[test]
fn many_short_arguments_arrive_as_sent() {
    let exec = |count| Exec { argv: std::iter::repeat_n(b"", count).collect(), ..Exec::default() };
    survives(&ToInit::Exec(exec(MESSAGE_BYTES_MAX - 100)));
    // A quarter: the whole would take a gigabyte, and show nothing else.
    survives(&exec(EXEC_BYTES_MAX / 4));
    let descriptors = vec![0; MESSAGE_BYTES_MAX - 100];
    survives(&ToInit::Exec(Exec { descriptors, ..Exec::default() }));
    let profiles = vec![PoolStatus::default(); (MESSAGE_BYTES_MAX - 100) / 16];
    let status = Status { profiles, ..Status::default() };
    survives(&Reply::Status { request: 0, status });
}

#[test]
fn what_arrives_beyond_the_bound_is_refused_by_its_size_alone() {
    let mut bytes = Vec::new();
    encode(&Request::Acquire(Acquire::default()), &mut bytes).unwrap();
    bytes.resize(MESSAGE_BYTES_MAX + 1, 0);
    let too_long = DecodeError::TooLong { bytes: bytes.len(), bound: MESSAGE_BYTES_MAX };
    assert_eq!(decode::<Request>(&bytes), Err(too_long));
}
