//! The `zyg` command: every role in one binary.
//!
//! `run`, `status`, `reserve` and `drain` are clients; `serve` is the server; the role that the server starts itself
//! as (a template) is taken before the command line is parsed.

#![cfg_attr(all(not(test), target_env = "gnu"), no_main)]

mod bench;
mod cli;
mod connect;
mod doctor;
mod drain;
mod in_order;
mod logging;
mod relay;
mod reserve;
mod run;
mod serve;
mod signals;
mod status;

use anyhow::Context;
use cli::Verb;
use in_order::InOrder;
use std::io::Write;

/// It did what it was to do.
pub const EXIT_SUCCESS: u8 = 0;
/// `zyg doctor` and `zyg config check`: what was examined will not do.
pub const EXIT_REFUSED: u8 = 1;
/// zyg itself failed: the command was not run, or how it ended is not known.
pub const EXIT_FAILED: u8 = 125;
/// The command was found and cannot be executed.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const EXIT_NOT_FOUND: u8 = 127;
/// `zyg reserve --wait`: not as many environments were warm in time.
pub const EXIT_NOT_WARM: u8 = 1;
/// `zyg drain`, and `zyg serve` when it is told to stop: leases were ended because the time was over.
pub const EXIT_LEASES_ENDED: u8 = 3;
/// The same two: environments are left whose end does not come.
pub const EXIT_STUCK: u8 = 4;
/// The command was ended because its `--timeout` was over, as with timeout(1).
pub const EXIT_TIMED_OUT: u8 = 124;

zygote::entry!(zyg);

fn zyg() -> u8 {
    let role = std::env::args_os().nth(1);
    if role.is_some_and(|role| role == zygote::template::ROLE) {
        logging::to_stderr("warn");
        return zygote::template::main();
    }
    let arguments: Vec<_> = std::env::args_os().collect();
    let (verb, matches) = match cli::parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return misused(&error),
    };
    let done = match verb {
        Verb::Run(run) => run::run(&run, &InOrder::of(&matches)),
        Verb::Serve(serve) => {
            logging::to_stderr("info");
            serve::serve(&serve)
        }
        Verb::Status(status) => status::status(&status),
        Verb::Reserve(reserve) => reserve::reserve(&reserve),
        Verb::Drain(drain) => drain::drain(&drain),
        Verb::Bench(bench) => bench::bench(&bench),
        Verb::Doctor(doctor) => doctor::doctor(&doctor),
        Verb::Config(config) => serve::check(&config),
    };
    done.unwrap_or_else(|error| {
        complain(&explain(&error));
        EXIT_FAILED
    })
}

/// Help that was asked for, or a command line that cannot be parsed: of `zyg run` a failure like
/// any other, since 2 may be an exit code of the command's own.
fn misused(error: &clap::Error) -> u8 {
    // Whoever has closed the stream does not want to read it.
    let _ = error.print();
    let run = std::env::args_os().nth(1).is_some_and(|verb| verb == "run");
    match error.exit_code() {
        0 => EXIT_SUCCESS,
        _ if run => EXIT_FAILED,
        code => code as u8,
    }
}

/// The error with its causes, each told once: an error of a library may quote its cause itself.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}

/// Prints what was asked for. A reader that has closed the pipe has seen enough; that it cannot be
/// written otherwise is a failure.
///
/// # Errors
/// Those of write(2), but `EPIPE`.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        _ => Ok(()),
    }
}

/// Tells the user something on standard error. That nobody reads there is no failure, as it is of
/// `eprintln!`, which panics.
pub fn complain(text: &str) {
    // In one piece, for others may write to the same file.
    let _ = std::io::stderr().write_all(format!("zyg: {text}\n").as_bytes());
}
