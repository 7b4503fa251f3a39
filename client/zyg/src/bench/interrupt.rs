//! Ctrl-C and its like: the bench stops where it is, and ends what it has started.

use crate::complain;
use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::thread;
use std::time::Duration;

/// Whether the bench was told to stop.
static TOLD: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The bench was told to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What shells make of a program that ended by SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Whether the bench has had time to stop.
static INSISTS: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// How long the bench has to stop. timeout(1) sends its signal twice: to it and to its process group.
const TIME_TO_STOP: Duration = Duration::from_secs(2);

/// From now on a signal is heeded by [`go_on`]; one that comes when the bench has had time to stop ends
/// the process at once.
pub fn listen() -> anyhow::Result<()> {
    let told = Arc::clone(TOLD.get_or_init(Arc::default));
    let insists = Arc::clone(INSISTS.get_or_init(Arc::default));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        use signal_hook::flag::{register, register_conditional_shutdown};
        register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), Arc::clone(&insists))
            .and_then(|_| register(signal, Arc::clone(&told)))
            .context("failed to handle signals")?;
    }
    Ok(())
}

/// Says once that the bench stops, and takes a further signal for impatience after a while.
fn stopping() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        complain("interrupted: what was measured so far is not shown");
        thread::spawn(|| {
            thread::sleep(TIME_TO_STOP);
            if let Some(insists) = INSISTS.get() {
                insists.store(true, Ordering::Relaxed);
            }
        });
    });
}

/// To be asked between samples.
///
/// # Errors
/// [`Interrupted`], after a signal.
pub fn go_on() -> Result<(), Interrupted> {
    match TOLD.get() {
        Some(told) if told.load(Ordering::Relaxed) => {
            stopping();
            Err(Interrupted)
        }
        _ => Ok(()),
    }
}
