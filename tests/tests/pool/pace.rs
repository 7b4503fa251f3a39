//! How fast what a pool has learned to keep is built.

use std::time::{Duration, Instant};
use zyg_tests::{Server, Setup, eventually};
use zygote_client::LeaseOptions;

/// Environments that are asked for at once.
const BURST: u32 = 12;

/// What one more than `min` takes at the least while there is no quiet.
const INTERVAL: Duration = Duration::from_millis(50);

fn with(quiet: &str) -> Server {
    let pool = format!("min = 1, max = {BURST}, idle = \"10m\"{quiet}");
    Setup::default().config(&format!("[profile.default]\npool = {{ {pool} }}\n")).start_warm()
}

/// How long it takes to have as many warm again as were asked for.
fn refilled(server: &Server) -> Duration {
    let client = server.client();
    // Those before may have been more than a target was learned from.
    let leases = client.acquire_many(&LeaseOptions::new(), BURST).unwrap();
    let start = Instant::now();
    drop(leases);
    eventually("what was asked for is warm", || (server.pool().warm == BURST).then_some(()));
    start.elapsed()
}

#[test]
fn with_a_quiet_time_what_is_beyond_min_is_built_one_by_one_while_there_is_none() {
    let slow = refilled(&with(", quiet = \"1m\""));
    // As far as builds have begun when the leases were given back, and one is `min`.
    assert!(slow >= INTERVAL * (BURST - 3), "{slow:?}");
    // The control: no bound but the machine's, so that it is only to come about at all.
    let quick = refilled(&with(""));
    println!("{BURST} are warm again after {quick:?}, with a quiet time after {slow:?}");
}
