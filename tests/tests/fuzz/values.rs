//! Values at which something changes: bounds of the wire, of the kernel and of the codec, and what
//! lies beside them.

use crate::random::Random;
use zyg_protocol::limits::{LABEL_BYTES_MAX, PATH_BYTES_MAX, WAIT_MS_MAX};
use zyg_protocol::message::Bytes;

/// Among them the bytes with which bincode marks a longer number.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    127,
    250,
    251,
    252,
    253,
    255,
    256,
    65_535,
    65_536,
    WAIT_MS_MAX - 1,
    WAIT_MS_MAX,
    WAIT_MS_MAX + 1,
    u32::MAX as u64,
    u32::MAX as u64 + 1,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX,
];

const LENGTHS: [usize; 17] = [
    0,
    1,
    2,
    63,
    64,
    65,
    250,
    251,
    LABEL_BYTES_MAX - 1,
    LABEL_BYTES_MAX,
    LABEL_BYTES_MAX + 1,
    1000,
    PATH_BYTES_MAX - 1,
    PATH_BYTES_MAX,
    PATH_BYTES_MAX + 1,
    30_000,
    65_000,
];

pub fn b(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

pub fn number(random: &mut Random) -> u64 {
    if random.one_in(4) { random.next() } else { *random.pick(&NUMBERS) }
}

/// A length; a long one rarely, since it costs as much as a hundred messages.
pub fn length(random: &mut Random) -> usize {
    let end = if random.one_in(16) { LENGTHS.len() } else { 8 };
    LENGTHS[random.below(end)]
}

/// Text of that length: plain, or with characters of several bytes, zeros or commands to a terminal
/// in it.
pub fn text_of(random: &mut Random, length: usize) -> String {
    match random.below(4) {
        0 => "ü".repeat(length / 2) + &"x".repeat(length % 2),
        1 => "\0".repeat(length),
        2 => "\x1b[2J\n".chars().cycle().take(length).collect(),
        _ => "x".repeat(length),
    }
}

pub fn text(random: &mut Random) -> String {
    let length = length(random);
    text_of(random, length)
}

pub fn bytes(random: &mut Random) -> Bytes {
    let length = length(random);
    if random.one_in(2) {
        return Bytes::from(random.bytes(length));
    }
    Bytes::from(text_of(random, length).into_bytes())
}

/// A path that breaks a rule.
pub fn bad_path(random: &mut Random) -> Bytes {
    match random.below(7) {
        0 => b(""),
        1 => b("relative"),
        2 => b("/a/../b"),
        3 => b("/.."),
        4 => b("/a\0b"),
        5 => Bytes::from(vec![b'/'; PATH_BYTES_MAX + 1]),
        _ => Bytes::from(vec![0xff; PATH_BYTES_MAX / 2]),
    }
}

/// A path that breaks none, but need not be of use.
pub fn good_path(random: &mut Random) -> Bytes {
    match random.below(8) {
        0 => b("/tmp/x"),
        1 => b("/tmp/a/b/c/d"),
        2 => b("/nonesuch"),
        3 => b("/proc/self/fd"),
        4 => b("/dev/shm/x"),
        5 => b("//tmp//.//x/"),
        6 => Bytes::from([b"/", &vec![b'p'; PATH_BYTES_MAX - 1][..]].concat()),
        _ => Bytes::from([b"/tmp/", &random.bytes(12).map_nonzero()[..]].concat()),
    }
}

trait MapNonzero {
    fn map_nonzero(self) -> Vec<u8>;
}

impl MapNonzero for Vec<u8> {
    /// Neither zeros nor anything that would make a component `..`.
    fn map_nonzero(mut self) -> Vec<u8> {
        for byte in &mut self {
            *byte |= 0x80;
        }
        self
    }
}
