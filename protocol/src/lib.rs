//! Vocabulary and wire of zyg, and nothing else: what is said ([`message`]), how much of it may be
//! said ([`limits`]), how it becomes bytes ([`codec`]) and how bytes and descriptors travel
//! ([`socket`]).
//!
//! This crate decides nothing: no policy, no paths, no processes. Both sides of every socket use
//! it, and each treats what the other says as hostile until it has been decoded within its bounds.

pub mod codec;
pub mod limits;
pub mod message;
pub mod socket;
