//! Bytes that nobody honest sends. Whatever they are, decoding them panics never, allocates within
//! the bound of a message, and accepts only what encodes and decodes to the same message again.

use crate::random::{Random, seed};
use crate::samples::{self, JUDGES, Sample};
use nix::sys::resource::{Resource, setrlimit};
use proptest::collection::vec;
use proptest::prelude::*;
use std::process::Command;
use zyg_protocol::codec::DecodeError;
use zyg_protocol::limits::{EXEC_BYTES_MAX, HEADER_BYTES, MESSAGE_BYTES_MAX};

/// Messages that are spoilt and decoded, unless `ZYG_FUZZ_MESSAGES` asks for another number.
const MUTATIONS: u64 = 1_000_000;

fn mutations() -> u64 {
    let asked = std::env::var("ZYG_FUZZ_MESSAGES").ok();
    asked.map_or(MUTATIONS, |asked| asked.parse().expect("ZYG_FUZZ_MESSAGES is a number"))
}

/// A message with the header of `like` and this body.
fn with_body(like: &Sample, body: &[u8]) -> Vec<u8> {
    let mut bytes = like.bytes[..HEADER_BYTES].to_vec();
    bytes.extend_from_slice(body);
    announce(&mut bytes);
    bytes
}

/// Makes the header's length true.
fn announce(bytes: &mut [u8]) {
    let length = u32::try_from(bytes.len() - HEADER_BYTES).expect("tests stay small");
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
}

#[test]
fn no_beginning_of_a_message_is_a_message() {
    for sample in samples::all() {
        for end in 0..sample.bytes.len() {
            let refused = (sample.judge)(&sample.bytes[..end]);
            if end < HEADER_BYTES {
                assert_eq!(refused, Err(DecodeError::Short(end)), "{}", sample.name);
            } else {
                let length = matches!(refused, Err(DecodeError::Length { .. }));
                assert!(length, "{} up to {end}: {refused:?}", sample.name);
            }
        }
    }
}

#[test]
fn strings_that_are_not_ended_are_refused() {
    let all = samples::all();
    let exec = all.iter().find(|sample| sample.name == "ToInit::Exec").expect("it is a sample");
    assert_eq!((exec.judge)(&exec.bytes), Ok(()), "the control");
    for last in [&b"caf\xe9\0"[..], b"odd\0"] {
        let at = exec.bytes.windows(last.len()).position(|window| window == last);
        let mut bytes = exec.bytes.clone();
        bytes[at.expect("it is sent as it is") + last.len() - 1] = b'x';
        let refused = (exec.judge)(&bytes);
        assert!(matches!(refused, Err(DecodeError::Body(_))), "{last:?}: {refused:?}");
    }
}

#[test]
fn no_beginning_of_a_body_is_a_body() {
    for sample in samples::all() {
        let body = &sample.bytes[HEADER_BYTES..];
        for end in 0..body.len() {
            let refused = (sample.judge)(&with_body(&sample, &body[..end]));
            let body = matches!(refused, Err(DecodeError::Body(_)));
            assert!(body, "{} up to {end}: {refused:?}", sample.name);
        }
    }
}

#[test]
fn surplus_bytes_are_refused_announced_or_not() {
    for sample in samples::all() {
        for surplus in [1, 2, 16, 1000] {
            let mut bytes = sample.bytes.clone();
            bytes.resize(bytes.len() + surplus, 0);
            let refused = (sample.judge)(&bytes);
            assert!(matches!(refused, Err(DecodeError::Length { .. })), "{}", sample.name);
            announce(&mut bytes);
            assert_eq!((sample.judge)(&bytes), Err(DecodeError::Surplus(surplus)));
        }
    }
}

#[test]
fn every_wrong_byte_in_a_header_is_refused_by_the_name_of_its_field() {
    for sample in samples::all() {
        for at in 0..HEADER_BYTES {
            for wrong in (0..=255).filter(|byte| *byte != sample.bytes[at]) {
                let mut bytes = sample.bytes.clone();
                bytes[at] = wrong;
                let refused = (sample.judge)(&bytes).expect_err("a wrong header");
                let named = match at {
                    0..4 => refused == DecodeError::Magic,
                    4..6 => matches!(refused, DecodeError::Version { .. }),
                    6..8 => matches!(refused, DecodeError::Kind { .. }),
                    8..12 => matches!(refused, DecodeError::Length { .. }),
                    _ => refused == DecodeError::Reserved,
                };
                assert!(named, "{} with {wrong} at {at}: {refused}", sample.name);
            }
        }
    }
}

#[test]
fn a_wrong_version_is_named_before_anything_else_is_judged() {
    let mut bytes = vec![0xff; 4096];
    bytes[..4].copy_from_slice(b"zyg\0");
    for (name, judge) in JUDGES {
        assert_eq!(judge(&bytes), Err(DecodeError::Version { got: 0xffff }), "{name}");
    }
}

#[test]
fn no_message_passes_for_one_of_another_conversation() {
    for sample in samples::all() {
        let accepted: Vec<_> =
            JUDGES.iter().filter(|(_, judge)| judge(&sample.bytes).is_ok()).collect();
        assert_eq!(accepted.len(), 1, "{} is accepted by {accepted:?}", sample.name);
        for (_, judge) in JUDGES {
            let refused = judge(&sample.bytes);
            assert!(matches!(refused, Ok(()) | Err(DecodeError::Kind { .. })), "{refused:?}");
        }
    }
}

#[test]
fn any_single_wrong_byte_in_a_body_is_survived() {
    for sample in samples::all() {
        for at in HEADER_BYTES..sample.bytes.len() {
            let mut bytes = sample.bytes.clone();
            for wrong in 0..=255 {
                bytes[at] = wrong;
                let _ = (sample.judge)(&bytes);
            }
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let samples = samples::all();
    let sample = samples.iter().find(|s| s.name == "Denial::BadRequest").unwrap();
    let text = sample.bytes.windows(7).position(|bytes| bytes == b"because").unwrap();
    let mut bytes = sample.bytes.clone();
    bytes[text] = 0xff;
    assert!(matches!((sample.judge)(&bytes), Err(DecodeError::Body(_))));
}

/// bincode's markers of a longer number, and the largest such number or one just over a bound.
fn claims() -> Vec<Vec<u8>> {
    let marked = |marker: u8, number: &[u8]| [&[marker], number].concat();
    let mut claims = vec![
        marked(251, &u16::MAX.to_le_bytes()),
        marked(252, &u32::MAX.to_le_bytes()),
        marked(253, &u64::MAX.to_le_bytes()),
        marked(253, &(1u64 << 40).to_le_bytes()),
        marked(253, &i64::MAX.to_le_bytes()),
        marked(254, &u128::MAX.to_le_bytes()),
        vec![255],
    ];
    for bound in [MESSAGE_BYTES_MAX, EXEC_BYTES_MAX] {
        let bound = u32::try_from(bound).expect("bounds are small");
        claims.push(marked(252, &(bound - 100).to_le_bytes()));
        claims.push(marked(252, &(bound + 1).to_le_bytes()));
    }
    claims
}

/// Wherever a length may stand, for every message: a huge number there, with and without anything
/// behind it.
fn claim_everywhere() {
    for sample in samples::all() {
        let body = &sample.bytes[HEADER_BYTES..];
        for at in 0..body.len() {
            for claim in claims() {
                let _ = (sample.judge)(&with_body(&sample, &[&body[..at], &claim].concat()));
                let whole = [&body[..at], &claim, &body[at + 1..]].concat();
                let _ = (sample.judge)(&with_body(&sample, &whole));
            }
        }
    }
}

/// The memory that decoding one may take: what bincode's limit lets a stored exec claim (eight times
/// its bound), and some more for everything else. Above the 64 MiB that malloc(3) may have reserved
/// for a thread already, which a limit on address space does not take back.
const MEMORY_TO_SPARE: u64 = 10 * EXEC_BYTES_MAX as u64;

/// An allocation beyond the limit on address space would abort the process, so the claims are
/// decoded in one that may be lost.
#[test]
fn a_claimed_length_is_not_believed_before_its_bytes_are_there() {
    const IN_CHILD: &str = "ZYG_TEST_CLAIM_IN_CHILD";
    if std::env::var_os(IN_CHILD).is_some() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let kib: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        let limit = kib * 1024 + MEMORY_TO_SPARE;
        setrlimit(Resource::RLIMIT_AS, limit, limit).unwrap();
        assert!(
            Vec::<u8>::new().try_reserve(MEMORY_TO_SPARE as usize + 1).is_err(),
            "the limit does not hold, so that nothing is shown"
        );
        claim_everywhere();
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hostile::a_claimed_length_is_not_believed_before_its_bytes_are_there"])
        .args(["--nocapture", "--test-threads=1"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&child.stdout);
    let whole = format!("{shown}{}", String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && shown.contains("1 passed"), "{}: {whole}", child.status);
}

/// One change of the kind that a confused or a hostile encoder would make.
fn mutate(body: &mut Vec<u8>, random: &mut Random, samples: &[Sample], claims: &[Vec<u8>]) {
    let at = random.below(body.len() + 1);
    let end = at + random.below(body.len() - at + 1).min(8);
    match random.below(7) {
        0 if at < body.len() => body[at] = random.byte(),
        1 if at < body.len() => body[at] ^= 1 << random.below(8),
        2 => body.insert(at, random.byte()),
        3 => drop(body.drain(at..end)),
        4 => {
            let copy = body[at..end].to_vec();
            body.splice(at..at, copy);
        }
        5 => {
            let claim = claims[random.below(claims.len())].clone();
            body.splice(at..(at + 1).min(body.len()), claim);
        }
        _ => {
            let other = &samples[random.below(samples.len())].bytes[HEADER_BYTES..];
            let from = random.below(other.len() + 1);
            body.splice(at..end, other[from..].iter().copied());
        }
    }
}

#[test]
fn mutated_messages_are_refused_or_survive_another_round() {
    let (samples, claims, seed, mutations) = (samples::all(), claims(), seed(), mutations());
    println!("ZYG_TEST_SEED={seed}");
    let mut random = Random(seed);
    let mut accepted = 0;
    for _ in 0..mutations {
        let sample = &samples[random.below(samples.len())];
        let mut body = sample.bytes[HEADER_BYTES..].to_vec();
        for _ in 0..=random.below(4) {
            mutate(&mut body, &mut random, &samples, &claims);
        }
        accepted += u64::from((sample.judge)(&with_body(sample, &body)).is_ok());
    }
    println!("{accepted} of {mutations} accepted");
    let share = mutations / 100..mutations;
    assert!(share.contains(&accepted), "mutations too wild or too tame: {accepted} accepted");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_bytes_are_no_message(bytes in vec(any::<u8>(), 0..200)) {
        for (_, judge) in JUDGES {
            prop_assert!(judge(&bytes).is_err());
        }
    }

    #[test]
    fn a_random_body_is_refused_or_survives_another_round(
        body in vec(prop_oneof![3 => 0u8..8, 1 => any::<u8>()], 0..120),
    ) {
        for sample in samples::all() {
            let _ = (sample.judge)(&with_body(&sample, &body));
        }
    }
}
