//! What is said to an init, sound in the main, and what must come of each.

use crate::descriptors::{memfd, some};
use crate::random::Random;
use crate::values::{b, bytes, good_path, number, text};
use nix::fcntl::SealFlag;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use zyg_protocol::limits::{HOSTNAME_BYTES_MAX, TARGET_DESCRIPTOR_MAX};
use zyg_protocol::message::{
    Attach, CommandId, Exec, Prepare, Rlimit, Scope, Strings, ToInit, TtySize,
};
use zyg_tests::bytes_of;

/// What must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Silence,
    /// `Prepared` or `PrepareFailed`.
    Preparation,
    /// That this command runs, unless the lease as a whole does not allow it now.
    Started(CommandId),
    /// That this command cannot be run.
    Failed(CommandId),
    /// Either.
    Either(CommandId),
}

/// A message, what rides along, and what must come of it.
#[derive(Debug)]
pub struct Told {
    pub bytes: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
    pub expect: Expect,
}

/// The number of the question by which a conversation finds out whether it is still heard. It is
/// answered at once, since nothing can be run without arguments.
pub const PROBE: CommandId = 0x5e55_1011;

/// Commands that run at once in one lease, so that a flood of commands is none of processes.
const RUNNING_MAX: usize = 12;

pub fn probe() -> Told {
    plain(ToInit::Exec(Exec { command: PROBE, ..Exec::default() }), Expect::Failed(PROBE))
}

/// The last of a good conversation: it must run, and end well.
pub fn last(command: CommandId) -> Told {
    plain(ToInit::Exec(exec(command, &["true"])), Expect::Started(command))
}

pub fn kill(command: CommandId) -> Told {
    let signal = ToInit::Signal { command, signal: nix::libc::SIGKILL, scope: Scope::Process };
    plain(signal, Expect::Silence)
}

fn plain(message: ToInit, expect: Expect) -> Told {
    Told { bytes: bytes_of(&message), descriptors: Vec::new(), expect }
}

/// The next message. `running` are the commands that run.
pub fn told(running: &[CommandId], socket: BorrowedFd<'_>, random: &mut Random) -> Told {
    let room = running.len() < RUNNING_MAX;
    match random.weighted(&[3600, 3600, 320, 100, 240, 1]) {
        0 => signal(running, random),
        1 => plain_failing(random, socket),
        2 => not_executed(random),
        3 if room => executed(random, socket),
        4 => stored(random, socket, room),
        5 => prepare(socket, random),
        _ => probe(),
    }
}

fn id(random: &mut Random) -> CommandId {
    if random.one_in(4) { number(random) as u32 } else { random.below(24) as u32 }
}

fn signal(running: &[CommandId], random: &mut Random) -> Told {
    let own = !running.is_empty() && random.one_in(2);
    let command = if own { *random.pick(running) } else { id(random) };
    let known = [0, 1, 2, 9, 10, 15, 17, 18, 19, 20, 28, 34, 64];
    let signal = if random.one_in(4) { number(random) as i32 } else { *random.pick(&known) };
    let scope = *random.pick(&[Scope::Process, Scope::Group]);
    plain(ToInit::Signal { command, signal, scope }, Expect::Silence)
}

fn exec(command: CommandId, argv: &[&str]) -> Exec {
    let env = Strings::from_iter(["PATH=/usr/bin:/bin"]);
    let (program, argv) = (b(argv[0]), argv.iter().collect());
    Exec { command, program, argv, env, ..Exec::default() }
}

/// A command that is refused before anything is forked.
fn plain_failing(random: &mut Random, socket: BorrowedFd<'_>) -> Told {
    let command = id(random);
    let mut exec = exec(command, &["true"]);
    let mut descriptors = Vec::new();
    match random.below(6) {
        0 => exec.argv = Strings::default(),
        1 => exec.program = b("tr\0ue"),
        2 => exec.cwd = Some(b("/\0")),
        3 => exec.descriptors = vec![0; 1 + random.below(5)],
        4 => descriptors.push(some(random, socket)),
        _ => {
            let numbers = [i32::MIN, -1, TARGET_DESCRIPTOR_MAX + 1, i32::MAX];
            exec.descriptors = vec![*random.pick(&numbers)];
            descriptors.push(some(random, socket));
        }
    }
    Told { bytes: bytes_of(&ToInit::Exec(exec)), descriptors, expect: Expect::Failed(command) }
}

/// A command for which a process is forked in vain.
fn not_executed(random: &mut Random) -> Told {
    let command = id(random);
    let mut exec = exec(command, &["true"]);
    match random.below(7) {
        0 => exec.program = b("nonesuch"),
        1 => exec.program = b(""),
        2 => exec.program = b("/etc"),
        3 => exec.cwd = Some(b("/nonesuch")),
        4 => exec.program = "/x".repeat(random.below(20_000)).as_bytes().to_vec().into(),
        5 => exec.rlimits = vec![Rlimit { resource: 99, soft: 1, hard: 1 }],
        _ => {
            exec.env = Strings::default();
            exec.env.push(&[b"PATH=", &b":".repeat(random.below(3000))]);
        }
    }
    // With nothing but the current directory to search, there is no such program.
    plain(ToInit::Exec(exec), Expect::Failed(command))
}

/// A command that runs.
fn executed(random: &mut Random, socket: BorrowedFd<'_>) -> Told {
    let (message, descriptors) = runs(random, socket);
    let command = message.command;
    // Limits may be too tight for the program to be loaded, and the terminals may be used up.
    let may_fail = !message.rlimits.is_empty() || message.tty.is_some();
    let expect = if may_fail { Expect::Either(command) } else { Expect::Started(command) };
    Told { bytes: bytes_of(&ToInit::Exec(message)), descriptors, expect }
}

fn runs(random: &mut Random, socket: BorrowedFd<'_>) -> (Exec, Vec<OwnedFd>) {
    let programs: [&[&str]; 4] =
        [&["true"], &["false"], &["sh", "-c", "exit 7"], &["sleep", "infinity"]];
    let mut exec = exec(id(random), programs[random.below(4)]);
    let mut descriptors = Vec::new();
    if random.one_in(4) {
        for _ in 0..=random.below(5) {
            exec.descriptors.push(random.below(TARGET_DESCRIPTOR_MAX as usize + 1) as i32);
            descriptors.push(some(random, socket));
        }
    }
    if random.one_in(8) {
        let size = number(random);
        exec.tty = Some(TtySize { rows: size as u16, columns: (size >> 16) as u16 });
    }
    if random.one_in(8) {
        // Not the size of a core, which a signal would then leave.
        let resource = *random.pick(&[0, 1, 2, 3, 5, 7, 9, 15]);
        exec.rlimits = vec![Rlimit { resource, soft: number(random), hard: number(random) }];
    }
    exec.umask = random.one_in(2).then(|| number(random) as u32);
    exec.sweep = random.one_in(16);
    // Without a terminal nothing would answer it, in an order in which each is answered.
    exec.quiet = exec.tty.is_some() && random.one_in(2);
    if *exec.program != *b"sleep" {
        (0..random.below(3)).for_each(|_| exec.argv.push(&[b"x"]));
    }
    (exec, descriptors)
}

/// A command that lies in a memfd, or in what is none.
fn stored(random: &mut Random, socket: BorrowedFd<'_>, room: bool) -> Told {
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE;
    let (exec, mut descriptors) = runs(random, socket);
    let command = exec.command;
    let sound = bytes_of(&exec);
    let mut expect = Expect::Failed(command);
    let file = match random.below(16) {
        0 if room => {
            expect = Expect::Either(command);
            Some(memfd(&sound, seals))
        }
        1 => Some(memfd(&sound, SealFlag::F_SEAL_SHRINK)),
        2 => Some(memfd(&sound[..random.below(sound.len())], seals)),
        3 => Some(memfd(&sound.repeat(2), seals)),
        4 => Some(memfd(&bytes_of(&Exec { command: !command, ..exec }), seals)),
        5 => Some(memfd(&bytes_of(&ToInit::ExecStored { command }), seals)),
        6 => Some(memfd(&vec![0; random.below(100_000)], seals)),
        7 => Some(File::open("/dev/null").unwrap()),
        8..=11 => Some(memfd(&random.bytes(60), seals)),
        _ => None,
    };
    if let Some(file) = file {
        descriptors.push(file.into());
    } else {
        descriptors.clear();
    }
    let bytes = bytes_of(&ToInit::ExecStored { command });
    Told { bytes, descriptors, expect }
}

/// A preparation that can be made, before anything has run.
pub fn first_prepare(random: &mut Random) -> Told {
    let tmpfs = |_| Attach::Tmpfs { target: b("/tmp/z") };
    let attach = (0..random.below(4)).map(tmpfs).collect();
    let hostname = random.one_in(2).then(|| "h".repeat(1 + random.below(HOSTNAME_BYTES_MAX)));
    plain(ToInit::Prepare(Prepare { attach, hostname }), Expect::Preparation)
}

/// A preparation, mostly one that must fail; after that, nothing runs.
pub fn prepare(socket: BorrowedFd<'_>, random: &mut Random) -> Told {
    let mut descriptors = Vec::new();
    let mut attach = Vec::new();
    for _ in 0..random.below(6) {
        let target = if random.one_in(2) { good_path(random) } else { bytes(random) };
        attach.push(match random.below(4) {
            0 => Attach::Tree { target },
            1 => Attach::Layer { target },
            2 => Attach::Cover { target },
            _ => Attach::Tmpfs { target },
        });
        if random.one_in(2) {
            descriptors.push(some(random, socket));
        }
    }
    let hostname = random.one_in(3).then(|| text(random));
    let prepare = ToInit::Prepare(Prepare { attach, hostname });
    let mut bytes = Vec::new();
    if zyg_protocol::codec::encode(&prepare, &mut bytes).is_err() {
        return probe();
    }
    Told { bytes, descriptors, expect: Expect::Preparation }
}
