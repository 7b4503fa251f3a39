//! Ctrl-C and its like: the bench stops where it is, and ends what it has started.

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Whether the bench was told to stop.
static TOLD: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The bench was told to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What shells make of a program that ended by SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;

/// From now on a signal is heeded by [`go_on`]; a second one ends the process at once.
pub fn listen() -> anyhow::Result<()> {
    let told = Arc::clone(TOLD.get_or_init(Arc::default));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        use signal_hook::flag::{register, register_conditional_shutdown};
        register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), Arc::clone(&told))
            .and_then(|_| register(signal, Arc::clone(&told)))
            .context("failed to handle signals")?;
    }
    Ok(())
}

/// To be asked between samples.
///
/// # Errors
/// [`Interrupted`], after a signal.
pub fn go_on() -> Result<(), Interrupted> {
    match TOLD.get() {
        Some(told) if told.load(Ordering::Relaxed) => Err(Interrupted),
        _ => Ok(()),
    }
}
