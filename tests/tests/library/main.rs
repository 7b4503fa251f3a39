//! The client library against a real server: its commands beside those of the standard library,
//! and what only it has.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod commands;
mod errors;
mod large;
mod leases;
mod many;
mod mounts;
mod parity;
mod streams;
mod terminal;

/// Builds and runs the same command with this library, in a lease, and with the standard library,
/// and says what came of each: `output()`, with the error as an `io::Error`.
macro_rules! both {
    ($lease:expr, $program:expr, |$command:ident| $build:expr) => {{
        let mut inside = $lease.command($program);
        let mut outside = std::process::Command::new($program);
        let $command = &mut inside;
        $build;
        let $command = &mut outside;
        $build;
        (inside.output().map_err(std::io::Error::from), outside.output())
    }};
}
use both;

/// Asserts that both came out the same, and returns what is printed.
fn assert_same(
    (inside, outside): (
        std::io::Result<std::process::Output>,
        std::io::Result<std::process::Output>,
    ),
) -> String {
    match (inside, outside) {
        (Ok(inside), Ok(outside)) => {
            assert_eq!(inside, outside);
            String::from_utf8(inside.stdout).unwrap()
        }
        (Err(inside), Err(outside)) => {
            assert_eq!(inside.kind(), outside.kind(), "{inside} and {outside}");
            String::new()
        }
        (inside, outside) => panic!("{inside:?} inside, {outside:?} outside"),
    }
}
