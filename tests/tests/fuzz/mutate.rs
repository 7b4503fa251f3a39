//! What a broken or a hostile encoder makes of a message.

use crate::foreign;
use crate::random::Random;
use zyg_protocol::limits::{HEADER_BYTES, MESSAGE_BYTES_MAX};

/// How a message was spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mutation {
    Flip,
    Byte,
    Cut,
    CutAnnounced,
    Longer,
    LongerAnnounced,
    Magic,
    Version,
    Kind,
    Length,
    Reserved,
    Twice,
    Claim,
    Swapped,
    Noise,
    Oversized,
    Foreign,
    Empty,
    Descriptors,
}

impl Mutation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Flip => "spoilt: flipped bits",
            Self::Byte => "spoilt: another byte",
            Self::Cut => "spoilt: cut",
            Self::CutAnnounced => "spoilt: cut and announced so",
            Self::Longer => "spoilt: longer",
            Self::LongerAnnounced => "spoilt: longer and announced so",
            Self::Magic => "spoilt: magic number",
            Self::Version => "spoilt: version",
            Self::Kind => "spoilt: kind",
            Self::Length => "spoilt: length",
            Self::Reserved => "spoilt: reserved field",
            Self::Twice => "spoilt: twice in one",
            Self::Claim => "spoilt: claimed length",
            Self::Swapped => "spoilt: halves swapped",
            Self::Noise => "spoilt: noise",
            Self::Oversized => "spoilt: oversized",
            Self::Foreign => "spoilt: of another conversation",
            Self::Empty => "spoilt: empty",
            Self::Descriptors => "spoilt: with descriptors",
        }
    }
}

const OF_BYTES: [Mutation; 18] = [
    Mutation::Flip,
    Mutation::Byte,
    Mutation::Cut,
    Mutation::CutAnnounced,
    Mutation::Longer,
    Mutation::LongerAnnounced,
    Mutation::Magic,
    Mutation::Version,
    Mutation::Kind,
    Mutation::Length,
    Mutation::Reserved,
    Mutation::Twice,
    Mutation::Claim,
    Mutation::Swapped,
    Mutation::Noise,
    Mutation::Oversized,
    Mutation::Foreign,
    Mutation::Empty,
];

/// Spoils a message of conversation `kind` (the codec's number). It may still be one by accident.
pub fn mutate(bytes: &mut Vec<u8>, kind: u16, random: &mut Random) -> Mutation {
    let mutation = *random.pick(&OF_BYTES);
    match mutation {
        Mutation::Flip => (0..=random.below(3)).for_each(|_| flip(bytes, random)),
        Mutation::Byte => *at(bytes, random) = random.next() as u8,
        Mutation::Cut => bytes.truncate(1 + random.below(bytes.len() - 1)),
        Mutation::CutAnnounced => {
            bytes.truncate(HEADER_BYTES + random.below(bytes.len() - HEADER_BYTES));
            announce(bytes);
        }
        Mutation::Longer => longer(bytes, random),
        Mutation::LongerAnnounced => {
            longer(bytes, random);
            announce(bytes);
        }
        Mutation::Magic => bytes[random.below(4)] ^= 1 << random.below(8),
        Mutation::Version => set(bytes, 4, random),
        Mutation::Kind => bytes[6] = random.below(10) as u8,
        Mutation::Length => set(bytes, 8, random),
        Mutation::Reserved => bytes[12 + random.below(4)] ^= 1 << random.below(8),
        Mutation::Twice => {
            let again = bytes.clone();
            bytes.extend(again);
        }
        Mutation::Claim => claim(bytes, random),
        Mutation::Swapped => {
            let middle = random.below(bytes.len());
            bytes.rotate_left(middle);
        }
        Mutation::Noise => {
            let length = 1 + random.below(200);
            *bytes = random.bytes(length);
        }
        Mutation::Oversized => {
            bytes.resize(MESSAGE_BYTES_MAX + 1 + random.below(1000), 0);
            announce(bytes);
        }
        Mutation::Foreign => *bytes = foreign::message(kind, random),
        Mutation::Empty | Mutation::Descriptors => bytes.clear(),
    }
    mutation
}

fn at<'a>(bytes: &'a mut [u8], random: &mut Random) -> &'a mut u8 {
    let at = random.below(bytes.len());
    &mut bytes[at]
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    *at(bytes, random) ^= 1 << random.below(8);
}

fn set(bytes: &mut [u8], field: usize, random: &mut Random) {
    let number = random.next().to_le_bytes();
    bytes[field..field + 2].copy_from_slice(&number[..2]);
}

fn longer(bytes: &mut Vec<u8>, random: &mut Random) {
    let surplus = 1 + random.below(40);
    bytes.extend(random.bytes(surplus));
}

/// Makes the header's length true.
fn announce(bytes: &mut [u8]) {
    let length = (bytes.len() - HEADER_BYTES) as u32;
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
}

/// A huge number in bincode's way, somewhere in the body, where it may be taken for a length.
fn claim(bytes: &mut Vec<u8>, random: &mut Random) {
    let claims: [&[u8]; 4] = [
        &[251, 255, 255],
        &[252, 255, 255, 255, 255],
        &[253, 255, 255, 255, 255, 255, 255, 255, 127],
        &[253, 0, 0, 0, 0, 0, 1, 0, 0],
    ];
    let at = HEADER_BYTES + random.below(bytes.len() - HEADER_BYTES);
    bytes.splice(at..=at, random.pick(&claims).iter().copied());
    announce(bytes);
}
