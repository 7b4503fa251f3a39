//! Argument vectors and environments, as one piece of memory.

use super::Bytes;
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::fmt;

/// Strings in a row, each ended by a zero byte, as execve(2) wants them: they are sent, received and
/// pointed to as they are. None contains a zero byte.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Bytes")]
pub struct Strings(Bytes);

/// The last string is not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a string without its zero byte")]
pub struct Unended;

impl Strings {
    /// No string yet, and memory for some.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Bytes::from(Vec::with_capacity(bytes)))
    }

    /// Adds the string that these parts make up. A zero byte in one of them ends it there, and begins
    /// another: who has not made the parts looks for one first.
    pub fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.0.extend_from_slice(part);
        }
        self.0.push(0);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let string = CStr::from_bytes_until_nul(rest).ok()?;
            rest = rest.get(string.count_bytes() + 1..)?;
            Some(string)
        })
    }
}

impl TryFrom<Bytes> for Strings {
    type Error = Unended;

    fn try_from(bytes: Bytes) -> Result<Self, Unended> {
        if bytes.last().is_none_or(|last| *last == 0) { Ok(Self(bytes)) } else { Err(Unended) }
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for Strings {
    /// As by [`Strings::push`], each of one part.
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut all = Self::default();
        for string in strings {
            all.push(&[string.as_ref()]);
        }
        all
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_comes_out_one_by_one() {
        let mut strings = Strings::with_capacity(8);
        assert!(strings.is_empty());
        strings.push(&[b"A", b"=", b"1"]);
        strings.push(&[]);
        strings.push(&[b"\xff"]);
        let all: Vec<_> = strings.iter().map(CStr::to_bytes).collect();
        assert_eq!(all, [&b"A=1"[..], b"", b"\xff"]);
        assert_eq!(strings, ["A=1".as_bytes(), b"", b"\xff"].into_iter().collect());
    }

    #[test]
    fn a_last_string_must_be_ended() {
        let of = |bytes: &[u8]| Strings::try_from(Bytes::from(bytes));
        assert_eq!(of(b"a\0b"), Err(Unended));
        assert_eq!(of(b"").map(|strings| strings.iter().count()), Ok(0));
        assert_eq!(of(b"\0\0").map(|strings| strings.iter().count()), Ok(2));
    }
}
