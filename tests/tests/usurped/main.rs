//! Somebody has taken over a part of zyg: a template, or an init. He speaks on its sockets whatever
//! he likes, and harms his own pool or lease at most: the server goes on, others are served, and
//! nothing is killed or handed out that is not his.
//!
//! The product has no hook for this. The usurper stops the real process and takes its descriptors
//! with pidfd_getfd(2): as root, or as the user who is served, since he made the user namespace that
//! a template is in, and so has every capability over it. As root the usurped pool is another user's
//! on a server of root's, else the caller's own.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod again;
mod channel;
mod descriptors;
mod floods;
mod inits;
mod lifeline;
mod links;
mod strangers;
mod texts;
mod tickets;
mod usurper;
