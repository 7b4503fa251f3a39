//! `zyg doctor`: it finds nothing missing where nothing is, and where something is, made so by the
//! test, it names the step, the layer and what to change.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod filtered;
mod here;
mod ids;
mod said;
mod spoiled;
