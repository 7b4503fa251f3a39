//! Between client and init, over a lease's channel: commands and how they end.

use super::{Attach, Bytes, CommandId, Failure, Strings};
use serde::{Deserialize, Serialize};

/// Client → init, over the lease's channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// Put the lease's mounts and host name in place. Answered by `Prepared` or `PrepareFailed`.
    Prepare(Prepare),
    /// Run a command. Answered by `Started` or `Failed`, and after `Started` by `Exited`.
    Exec(Exec),
    /// Run the command whose encoded `Exec` lies in the sealed memfd that is the last descriptor.
    ExecStored {
        /// The command's number, as in the stored request.
        command: CommandId,
    },
    /// Send a signal to a running command. Not answered; a command that is gone gets nothing.
    Signal {
        /// The command's number.
        command: CommandId,
        /// The signal's number.
        signal: i32,
        /// How far it reaches.
        scope: Scope,
    },
}

/// How far a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The command's first process, as `kill PID` does.
    Process,
    /// The command's process group, as a terminal's keys do.
    Group,
}

/// What a lease needs before its first command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The grant's mounts, in order; their trees ride along.
    pub attach: Vec<Attach>,
    /// A host name for this lease alone.
    pub hostname: Option<String>,
}

/// A command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The client's number for it.
    pub command: CommandId,
    /// What is executed: with a slash, that path; without, searched in `PATH` of `env`.
    pub program: Bytes,
    /// The argument vector, the program's own name first.
    pub argv: Strings,
    /// The environment, `KEY=value` each.
    pub env: Strings,
    /// Where it starts; `None` for `/`.
    pub cwd: Option<Bytes>,
    /// The number that each passed descriptor gets in the command, in the order they ride along.
    pub descriptors: Vec<i32>,
    /// Run it on a new terminal of this size; descriptors 0, 1 and 2 are then the terminal.
    pub tty: Option<TtySize>,
    /// Resource limits to set, lowered to init's own hard limits where they exceed them.
    pub rlimits: Vec<Rlimit>,
    /// File mode creation mask; `None` for 0o022.
    pub umask: Option<u32>,
    /// Nice value (nice(2)); init's own where that is higher.
    pub nice: i8,
    /// The CPUs that it may run on, those of them that init may: one bit each, as sched_setaffinity(2)
    /// has them, without the zero bytes at the end. Empty for all of init's.
    pub cpus: Bytes,
    /// End everything else in the environment when this command ends, before its end is reported.
    pub sweep: bool,
    /// Do not report `Started`: who waits for the end alone is not woken twice. With `tty` it is
    /// reported all the same, since the terminal rides along.
    pub quiet: bool,
}

/// A terminal's size in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// One resource limit (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` by its number.
    pub resource: u32,
    /// The soft limit, in the resource's unit.
    pub soft: u64,
    /// The hard limit, in the resource's unit.
    pub hard: u64,
}

/// Init → client, over the lease's channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// The lease is as `Prepare` asked; names what could not be had and was left stricter.
    Prepared {
        /// Paths that stay read-only because a private layer over them is refused by the kernel.
        read_only: Vec<Bytes>,
    },
    /// The lease could not be prepared, and runs no command.
    PrepareFailed(Failure),
    /// The command runs.
    Started {
        /// The command's number.
        command: CommandId,
        /// Its process number inside the environment.
        pid: u32,
    },
    /// The command could not be run.
    Failed {
        /// The command's number.
        command: CommandId,
        /// Where it failed.
        failure: Failure,
    },
    /// The command has ended.
    Exited {
        /// The command's number.
        command: CommandId,
        /// How.
        status: ExitStatus,
        /// What it used, its reaped descendants included.
        usage: Usage,
    },
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

/// What a command used (getrusage(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Microseconds on a CPU in user mode.
    pub user_us: u64,
    /// Microseconds on a CPU in the kernel.
    pub system_us: u64,
    /// Microseconds from start to end.
    pub wall_us: u64,
    /// The largest resident set of one process, in KiB.
    pub max_rss_kib: u64,
}
