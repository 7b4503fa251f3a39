//! From a request to a running command.

use super::{Init, Preparation, bounds};
use crate::failure::{At, failure};
use crate::sys::command::{Prepared, candidates};
use crate::sys::{placement, tty};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Instant;
use zyg_protocol::codec::{decode, encode};
use zyg_protocol::limits::{
    COMMANDS_MAX, EXEC_BYTES_MAX, MESSAGE_BYTES_MAX, TARGET_DESCRIPTOR_MAX,
};
use zyg_protocol::message::{Bytes, CommandId, Exec, Failure, FromInit, Step, Strings, ToInit};

/// How a command found its terminal, where init's own devpts has it.
const MULTIPLEXER: &CStr = c"/dev/pts/ptmx";

impl Init<'_> {
    /// Does what the client of the first command would have to wait for: gets the memory for a request,
    /// has the kernel give pages to it and to what handles it.
    pub(super) fn rehearse(&mut self) {
        /// Of an environment as programs have it.
        const VARIABLES: usize = 32;
        let word = [b'='; 32];
        let exec = Exec {
            program: Bytes::from(&word[..]),
            argv: Strings::from_iter([word]),
            env: Strings::from_iter([word; VARIABLES]),
            ..Exec::default()
        };
        self.buffer.reserve(MESSAGE_BYTES_MAX);
        if encode(&ToInit::Exec(exec), &mut self.buffer).is_ok()
            && let Ok(ToInit::Exec(exec)) = decode(&self.buffer)
        {
            let _ = prepare(exec, Vec::new());
        }
        self.stack.get_or_insert_default().touch();
    }

    /// Runs a command whose request lies in a memfd.
    pub(super) fn exec_stored(&mut self, command: CommandId, mut descriptors: Vec<OwnedFd>) {
        let exec = match descriptors.pop() {
            Some(memfd) => read_stored(&File::from(memfd)),
            None => Err(failure(Step::ReadRequest, b"", Errno::EBADF)),
        };
        match exec {
            Ok(exec) if exec.command == command => self.exec(exec, descriptors),
            Ok(_) => self.fail(command, failure(Step::ReadRequest, b"", Errno::EPROTO)),
            Err(failure) => self.fail(command, failure),
        }
    }

    /// Runs a command, and reports that it runs, if that is wanted, or why it does not.
    pub(super) fn exec(&mut self, exec: Exec, descriptors: Vec<OwnedFd>) {
        let (command, quiet) = (exec.command, exec.quiet);
        match self.start(exec, descriptors) {
            Ok((_, None)) if quiet => {}
            Ok((pid, master)) => self.reply(&FromInit::Started { command, pid }, master),
            Err(failure) => self.fail(command, failure),
        }
    }

    fn start(
        &mut self,
        mut exec: Exec,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(u32, Option<OwnedFd>), Failure> {
        self.may_start(exec.command)?;
        let program = exec.program.clone();
        let cwd = exec.cwd.clone().unwrap_or_default();
        let (command, sweep) = (exec.command, exec.sweep);
        if !self.env.is_empty() {
            exec.env = with_variables(&exec.env, &self.env);
        }
        // Before what is asked for, which is lowered to it.
        exec.rlimits.splice(..0, bounds::descriptors(self.confinement.descriptors));
        let (mut prepared, master) = prepare(exec, descriptors)?;
        for limit in &self.confinement.rlimits {
            prepared.cap_rlimit(limit.resource, limit.soft, limit.hard);
        }
        for filter in &self.confinement.command_filters {
            prepared.filter(filter.to_vec());
        }
        let started = Instant::now();
        let stack = self.stack.get_or_insert_default();
        let pid = prepared.start(stack).map_err(|outcome| {
            let subject = match outcome.step {
                Step::Chdir => &cwd[..],
                Step::Execute | Step::Interpreter => &program[..],
                _ => &[],
            };
            failure(outcome.step, subject, outcome.errno)
        })?;
        self.children.add(command, pid, started, sweep);
        Ok((pid.as_raw() as u32, master))
    }

    fn may_start(&mut self, command: CommandId) -> Result<(), Failure> {
        let refuse = |subject: &[u8], errno| Err(failure(Step::Fork, subject, errno));
        if self.prepared == Preparation::Failed {
            return refuse(b"in an environment that could not be prepared", Errno::EPERM);
        }
        if self.children.len() >= COMMANDS_MAX {
            return refuse(b"more commands at once than one lease may run", Errno::EAGAIN);
        }
        if self.children.pid_of(command).is_some() {
            return refuse(b"a second command of the same number", Errno::EEXIST);
        }
        if self.children.sweeping() {
            return refuse(b"in an environment that is being swept", Errno::EBUSY);
        }
        self.prepared = Preparation::Closed;
        Ok(())
    }
}

fn prepare(exec: Exec, descriptors: Vec<OwnedFd>) -> Result<(Prepared, Option<OwnedFd>), Failure> {
    if exec.descriptors.len() != descriptors.len() {
        return Err(failure(Step::Descriptors, b"", Errno::EPROTO));
    }
    if exec.argv.is_empty() {
        return Err(failure(Step::ReadRequest, b"an empty argument vector", Errno::EINVAL));
    }
    let program = c_string(&exec.program)?;
    let path = exec.env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    let candidates = candidates(&program, path);
    let mut prepared = Prepared::new(candidates, exec.argv, exec.env);
    if let Some(cwd) = &exec.cwd {
        prepared.cwd(c_string(cwd)?);
    }
    for (descriptor, number) in descriptors.into_iter().zip(&exec.descriptors) {
        if !(0..=TARGET_DESCRIPTOR_MAX).contains(number) {
            let subject = number.to_string();
            return Err(failure(Step::Descriptors, subject.as_bytes(), Errno::EBADF));
        }
        prepared.descriptor(descriptor, *number);
    }
    for limit in &exec.rlimits {
        prepared.rlimit(limit.resource, limit.soft, limit.hard);
    }
    if let Some(umask) = exec.umask {
        prepared.umask(umask);
    }
    prepared.nice(exec.nice);
    if !exec.cpus.is_empty() {
        prepared.cpus(placement::cpus_among(&exec.cpus));
    }
    let mut master = None;
    if let Some(size) = exec.tty {
        let (own, terminal) = tty::open_pair(MULTIPLEXER, size).at(Step::Tty)?;
        for number in 1..=2 {
            prepared.descriptor(terminal.try_clone().at(Step::Tty)?, number);
        }
        prepared.descriptor(terminal, 0);
        prepared.controlling_terminal(0);
        master = Some(own);
    }
    Ok((prepared, master))
}

/// The command's variables, with the profile's in place of its own.
fn with_variables(env: &Strings, set: &[Bytes]) -> Strings {
    let names =
        || set.iter().filter_map(|variable| variable.split_inclusive(|byte| *byte == b'=').next());
    let own = env.iter().map(CStr::to_bytes);
    let kept = own.filter(|entry| !names().any(|name| entry.starts_with(name)));
    kept.chain(set.iter().map(|variable| variable.as_slice())).collect()
}

/// Reads a stored request. It must be sealed, so that what is decoded is what was sent.
fn read_stored(memfd: &File) -> Result<Exec, Failure> {
    let seals = fcntl(memfd, FcntlArg::F_GET_SEALS).at(Step::ReadRequest)?;
    let needed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE;
    if !SealFlag::from_bits_truncate(seals).contains(needed) {
        return Err(failure(Step::ReadRequest, b"an unsealed memfd", Errno::EPERM));
    }
    let bytes = memfd.metadata().at(Step::ReadRequest)?.len();
    if bytes > EXEC_BYTES_MAX as u64 {
        return Err(failure(Step::ReadRequest, b"", Errno::E2BIG));
    }
    let mut buffer = vec![0; bytes as usize];
    memfd.read_exact_at(&mut buffer, 0).at(Step::ReadRequest)?;
    decode(&buffer)
        .map_err(|error| failure(Step::ReadRequest, error.to_string().as_bytes(), Errno::EPROTO))
}

fn c_string(bytes: &Bytes) -> Result<CString, Failure> {
    CString::new(bytes.as_slice())
        .map_err(|_| failure(Step::ReadRequest, b"a zero byte in a string", Errno::EINVAL))
}
