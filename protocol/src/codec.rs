//! Messages to bytes and back. The only file that names bincode.
//!
//! A message is a fixed header, then a body:
//!
//! | offset | bytes | content |
//! | --- | --- | --- |
//! | 0 | 4 | magic `zyg` and a zero |
//! | 4 | 2 | [`WIRE_VERSION`](crate::limits::WIRE_VERSION), little-endian |
//! | 6 | 2 | [`Kind`]: which conversation this belongs to, little-endian |
//! | 8 | 4 | bytes of the body, little-endian |
//! | 12 | 4 | zero |
//! | 16 | … | the body: bincode 2, standard configuration, under a byte limit |
//!
//! The header is judged before the body is looked at, and the body must be consumed to its last
//! byte. Nothing here panics on any input.

use crate::limits::{EXEC_BYTES_MAX, HEADER_BYTES, MESSAGE_BYTES_MAX, WIRE_VERSION};
use crate::message::{
    Exec, FromInit, FromTemplate, Lifeline, Reply, Request, ToInit, ToTemplate, ToZygote,
};
use serde::{Serialize, de::DeserializeOwned};

const MAGIC: [u8; 4] = *b"zyg\0";

/// The conversation that a message belongs to, so that no message of one can pass for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
#[expect(missing_docs, reason = "each variant is named after its message type")]
pub enum Kind {
    Request = 1,
    Reply = 2,
    ToInit = 3,
    FromInit = 4,
    ToTemplate = 5,
    FromTemplate = 6,
    Lifeline = 7,
    StoredExec = 8,
    ToZygote = 9,
}

/// A type that travels as one message.
pub trait Message: Serialize + DeserializeOwned {
    /// Its conversation.
    const KIND: Kind;
    /// Bytes that an encoded one may have, header included.
    const BYTES_MAX: usize = MESSAGE_BYTES_MAX;
}

macro_rules! messages {
    ($($type:ident),+) => { $(impl Message for $type { const KIND: Kind = Kind::$type; })+ };
}
messages!(Request, Reply, ToInit, FromInit, ToTemplate, FromTemplate, Lifeline, ToZygote);

impl Message for Exec {
    const KIND: Kind = Kind::StoredExec;
    const BYTES_MAX: usize = EXEC_BYTES_MAX;
}

/// Why bytes are not a message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header has.
    #[error("{0} bytes are too few for a header of {HEADER_BYTES}")]
    Short(usize),
    /// Not zyg's wire at all.
    #[error("the magic number is not zyg's")]
    Magic,
    /// Another version of it.
    #[error("wire version {got} is not spoken here, only {WIRE_VERSION}")]
    Version {
        /// The sender's version.
        got: u16,
    },
    /// A message of another conversation.
    #[error("a message of kind {got} does not belong here, only kind {want}")]
    Kind {
        /// The sender's kind.
        got: u16,
        /// The kind that was expected.
        want: u16,
    },
    /// A reserved field is in use.
    #[error("the reserved header field is not zero")]
    Reserved,
    /// The header's length is not that of what arrived.
    #[error("the header announces a body of {announced} bytes, {arrived} arrived")]
    Length {
        /// What the header says.
        announced: u32,
        /// What there is.
        arrived: usize,
    },
    /// More than the bound for this message.
    #[error("{bytes} bytes exceed the bound of {bound}")]
    TooLong {
        /// What there is.
        bytes: usize,
        /// What there may be.
        bound: usize,
    },
    /// The body is not one of the message type.
    #[error("the body cannot be decoded: {0}")]
    Body(String),
    /// The body goes on after the message's end.
    #[error("{0} surplus bytes after the message")]
    Surplus(usize),
}

/// Why a message cannot be sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// More than the bound for this message.
    #[error("the encoded message exceeds the bound of {bound} bytes")]
    TooLong {
        /// What there may be.
        bound: usize,
    },
}

/// Replaces the content of `buffer` by the encoded message.
///
/// # Errors
/// [`EncodeError::TooLong`] if it exceeds [`Message::BYTES_MAX`]; the buffer is then empty.
pub fn encode<M: Message>(message: &M, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
    buffer.clear();
    buffer.extend_from_slice(&header(M::KIND, 0));
    let too_long = EncodeError::TooLong { bound: M::BYTES_MAX };
    let body = bincode::serde::encode_into_std_write(message, buffer, bincode::config::standard());
    let body = match body {
        Ok(bytes) if HEADER_BYTES + bytes <= M::BYTES_MAX => bytes,
        // Writing to a vector cannot fail, and every message type can be serialised.
        _ => {
            buffer.clear();
            return Err(too_long);
        }
    };
    let length = u32::try_from(body).expect("the bound is below 4 GiB");
    buffer[8..12].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn header(kind: Kind, length: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&WIRE_VERSION.to_le_bytes());
    header[6..8].copy_from_slice(&(kind as u16).to_le_bytes());
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header
}

/// The message in `bytes`, which must be exactly one.
///
/// # Errors
/// A [`DecodeError`] that names the first rule that was broken, in the order of the header.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    let body = judge_header(bytes, M::KIND, M::BYTES_MAX)?;
    let (message, consumed) = decode_body(body, M::BYTES_MAX)?;
    if consumed != body.len() {
        return Err(DecodeError::Surplus(body.len() - consumed));
    }
    Ok(message)
}

fn judge_header(bytes: &[u8], kind: Kind, bound: usize) -> Result<&[u8], DecodeError> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(DecodeError::Short(bytes.len()));
    };
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let u32_at = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if header[0..4] != MAGIC {
        return Err(DecodeError::Magic);
    }
    if u16_at(4) != WIRE_VERSION {
        return Err(DecodeError::Version { got: u16_at(4) });
    }
    if u16_at(6) != kind as u16 {
        return Err(DecodeError::Kind { got: u16_at(6), want: kind as u16 });
    }
    if bytes.len() > bound {
        return Err(DecodeError::TooLong { bytes: bytes.len(), bound });
    }
    if u32_at(8) as usize != body.len() {
        return Err(DecodeError::Length { announced: u32_at(8), arrived: body.len() });
    }
    if u32_at(12) != 0 {
        return Err(DecodeError::Reserved);
    }
    Ok(body)
}

/// What bincode counts against its limit for one byte of the wire, at most: a number counts as wide
/// as it is in memory, a `u64` or a length as 8, even where its encoding is one byte. A smaller
/// limit would refuse messages within their bound, such as an `Exec` with many short arguments.
const COUNTED_PER_BYTE: usize = 8;

/// bincode's limit is a type parameter: it bounds what a length prefix may make it allocate, so
/// the small one is used wherever it can be.
fn decode_body<M: DeserializeOwned>(body: &[u8], bound: usize) -> Result<(M, usize), DecodeError> {
    const SMALL: usize = MESSAGE_BYTES_MAX * COUNTED_PER_BYTE;
    const LARGE: usize = EXEC_BYTES_MAX * COUNTED_PER_BYTE;
    let standard = bincode::config::standard();
    let decoded = if bound <= MESSAGE_BYTES_MAX {
        bincode::serde::decode_from_slice(body, standard.with_limit::<SMALL>())
    } else {
        bincode::serde::decode_from_slice(body, standard.with_limit::<LARGE>())
    };
    decoded.map_err(|error| DecodeError::Body(error.to_string()))
}
