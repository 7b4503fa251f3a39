//! Names for what the loop waits on, and a store whose keys go stale.
//!
//! A key carries a generation, so an event that was under way when its subject went finds nothing,
//! not the subject's successor.

use mio::Token;
use slab::Slab;

/// What a readiness event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Listener,
    Signals,
    Session(Key),
    Template(Key),
    /// What a template logs.
    Log(Key),
    /// A zygote's lifeline.
    Zygote(Key),
    /// The pidfd of a zygote whose template is gone, so that nobody else tells of its end.
    Remains(Key),
}

const KIND_BITS: u32 = 4;
const GENERATION_BITS: u32 = 28;

impl Source {
    pub fn token(self) -> Token {
        let (kind, key) = match self {
            Self::Listener => (0, Key::default()),
            Self::Signals => (1, Key::default()),
            Self::Session(key) => (2, key),
            Self::Template(key) => (3, key),
            Self::Zygote(key) => (4, key),
            Self::Remains(key) => (5, key),
            Self::Log(key) => (6, key),
        };
        let generation = (key.generation as usize) << KIND_BITS;
        Token((key.index as usize) << (KIND_BITS + GENERATION_BITS) | generation | kind)
    }

    pub fn of(token: Token) -> Option<Self> {
        let generation = (token.0 >> KIND_BITS) as u32 & ((1 << GENERATION_BITS) - 1);
        let index = (token.0 >> (KIND_BITS + GENERATION_BITS)) as u32;
        let key = Key { index, generation };
        Some(match token.0 & ((1 << KIND_BITS) - 1) {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Session(key),
            3 => Self::Template(key),
            4 => Self::Zygote(key),
            5 => Self::Remains(key),
            6 => Self::Log(key),
            _ => return None,
        })
    }
}

/// A place in an [`Arena`], for as long as what was put there stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

/// A slab whose keys are not reused for a quarter of a billion insertions.
#[derive(Debug)]
pub(super) struct Arena<T> {
    slab: Slab<(u32, T)>,
    generation: u32,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { slab: Slab::new(), generation: 0 }
    }
}

impl<T> Arena<T> {
    pub fn insert(&mut self, value: T) -> Key {
        self.generation = (self.generation + 1) & ((1 << GENERATION_BITS) - 1);
        let index = self.slab.insert((self.generation, value)) as u32;
        Key { index, generation: self.generation }
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        let (generation, value) = self.slab.get(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.slab.get_mut(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.slab.remove(key.index as usize).1)
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let key = |(index, generation)| Key { index: index as u32, generation };
        self.slab.iter().map(move |(index, (generation, value))| (key((index, *generation)), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_source_again() {
        let key = Key { index: u32::MAX, generation: (1 << GENERATION_BITS) - 1 };
        for source in [
            Source::Listener,
            Source::Signals,
            Source::Session(key),
            Source::Template(Key { index: 7, generation: 9 }),
            Source::Zygote(key),
            Source::Remains(key),
        ] {
            let expected = match source {
                Source::Listener | Source::Signals => Source::of(source.token()),
                other => Some(other),
            };
            assert_eq!(Source::of(source.token()), expected);
        }
        assert_eq!(Source::of(Token(15)), None);
    }

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut arena = Arena::default();
        let first = arena.insert('a');
        assert_eq!(arena.remove(first), Some('a'));
        let second = arena.insert('b');
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&'b'));
    }
}
