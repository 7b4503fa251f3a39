//! `zyg run`: one command in one environment, as if it ran here.

use crate::cli::Run;
use crate::connect::{find_or_start, unserved};
use crate::in_order::{InOrder, MountFlag, VariableFlag};
use crate::relay::Relay;
use crate::signals::Signals;
use crate::{EXIT_FAILED, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_TIMED_OUT, complain};
use anyhow::{Context, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use zygote_client::{
    AcquireError, Child, Command, Denial, Failure, Lease, LeaseError, LeaseOptions, RequestError,
    Rlimit, SpawnError, Step,
};

/// What profiles hide from commands unless told otherwise (DESIGN.md, `writable`).
const PRIVATE: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run"];

/// Runs the command and returns what it returned.
pub fn run(run: &Run, given: &InOrder) -> anyhow::Result<u8> {
    let mut status = StatusLines::open(run.json_status_fd)?;
    let ended = run_telling(run, given, &mut status);
    if ended.is_err() {
        status.end(EXIT_FAILED, None, false);
    }
    ended
}

/// The same, and tells what becomes of it, unless zyg itself fails.
fn run_telling(run: &Run, given: &InOrder, status: &mut StatusLines) -> anyhow::Result<u8> {
    if let Some(limit) = run.limit_of_a_cgroup() {
        bail!(
            "{limit} cannot be had: limits that need cgroups are not set yet; use ulimit, or a \
             profile's limits.as and limits.nproc"
        );
    }
    let cwd = working_directory(run)?;
    let program = resolve(run, &given.variables, &cwd);
    let lease = acquire(run, &given.mounts, &cwd, program.as_deref())?;
    let mut command = lease.command(&run.command[0]);
    describe(&mut command, run, &given.variables, &cwd)?;
    let mut relay = if run.tty { Some(Relay::prepare(&mut command)?) } else { None };
    let signals = Signals::install().context("failed to take signals over")?;
    let started = command.spawn();
    // Sent ahead: a command does not start before what was asked for is in place, or not at all.
    lease.prepared().map_err(|error| refused(error, run, &cwd))?;
    let begun = Instant::now();
    for path in lease.read_only() {
        complain(&format!(
            "{} is read-only here: a mount below it forbids a private layer; --bind {0} makes it \
             writable",
            path.display()
        ));
    }
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            let code = not_started(&error, run, &cwd, program.as_deref())?;
            status.end(code, None, false);
            return Ok(code);
        }
    };
    if !run.tty {
        let_go_of_streams().context("failed to let go of standard input and output")?;
    }
    status.line(&serde_json::json!({ "child-pid": child.id() }));
    let deadline = run.timeout.map(|timeout| begun + timeout);
    let (code, signal, timed_out) = match watch(&mut child, signals, relay.as_mut(), deadline) {
        Ok(Some(ended)) => {
            // It ends with this process, which is about to.
            std::mem::forget(lease);
            (exit_code(ended), ended.signal(), false)
        }
        Ok(None) => {
            end(lease)?;
            (EXIT_TIMED_OUT, None, true)
        }
        Err(error) if is_over(&error, &lease) => {
            complain("the time of the environment is over: that is its profile's limits.time");
            (EXIT_TIMED_OUT, None, true)
        }
        Err(error) => return Err(error),
    };
    if let Some(relay) = &mut relay {
        relay.finish();
    }
    status.end(code, signal, timed_out);
    Ok(code)
}

/// Whether the server has ended the lease because its time was over.
fn is_over(error: &anyhow::Error, lease: &Lease) -> bool {
    /// The server's clock began before ours.
    const AHEAD: Duration = Duration::from_millis(50);
    let ended = matches!(error.downcast_ref(), Some(LeaseError::Ended));
    ended && lease.deadline().is_some_and(|deadline| Instant::now() + AHEAD >= deadline)
}

/// Where the command starts, as an absolute path.
fn working_directory(run: &Run) -> anyhow::Result<PathBuf> {
    let here = || {
        env::current_dir().context(
            "failed to find the current directory: it may have been deleted or be unreadable; cd \
             elsewhere, or give --chdir",
        )
    };
    match &run.chdir {
        None => here(),
        Some(directory) => {
            let joined =
                if directory.is_absolute() { directory.clone() } else { here()?.join(directory) };
            // Without `..` and links, since the environment is told which directory to show. One
            // that is not here may be there: below a mount.
            Ok(joined.canonicalize().unwrap_or(joined))
        }
    }
}

/// The program's absolute path where it can be found from here, so that its directory can be shown.
fn resolve(run: &Run, variables: &[VariableFlag], cwd: &Path) -> Option<PathBuf> {
    let name = Path::new(&run.command[0]);
    if name.as_os_str().as_bytes().contains(&b'/') {
        return real(&cwd.join(name)).filter(|path| path.exists());
    }
    let path = variable(run, variables, "PATH")?;
    let found =
        env::split_paths(&path).map(|directory| cwd.join(directory).join(name)).find(|candidate| {
            nix::unistd::access(candidate, nix::unistd::AccessFlags::X_OK).is_ok()
                && candidate.is_file()
        });
    real(&found?)
}

/// The path by which the environment shows the file: without `..`, since it compares components.
/// A link on the way to it is there as here and is followed; one in a private place is not there,
/// so the path below is shown as it is named.
fn real(path: &Path) -> Option<PathBuf> {
    let plain = path.components().all(|component| component != Component::ParentDir);
    if plain && PRIVATE.iter().any(|place| path.starts_with(place)) {
        return Some(path.to_owned());
    }
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}

/// A variable as the command will see it.
fn variable(run: &Run, variables: &[VariableFlag], key: &str) -> Option<OsString> {
    let prefix = format!("{key}=");
    let latest = variables.iter().rev().find_map(|flag| match flag {
        VariableFlag::Set { entry } => {
            let value = entry.as_bytes().strip_prefix(prefix.as_bytes())?;
            Some(Some(OsStr::from_bytes(value).to_owned()))
        }
        VariableFlag::Unset { key: removed } => (removed == key).then_some(None),
    });
    latest.unwrap_or_else(|| if run.clearenv { None } else { env::var_os(key) })
}

fn acquire(
    run: &Run,
    mounts: &[MountFlag],
    cwd: &Path,
    program: Option<&Path>,
) -> anyhow::Result<Lease> {
    let mut options = LeaseOptions::new();
    options.cwd(cwd).label(run.command[0].to_string_lossy());
    if let Some(program) = program {
        options.program(program);
    }
    if let Some(profile) = run.profile() {
        options.profile(profile);
    }
    if let Some(wait) = run.wait {
        options.wait(wait);
    }
    if let Some(hostname) = &run.hostname {
        options.hostname(hostname);
    }
    for mount in mounts {
        add_mount(&mut options, mount)?;
    }
    let client = find_or_start(&run.server)?;
    client.acquire_ahead(&options).map_err(|error| refused(error, run, cwd))
}

/// What to say where the library's words miss what the user has typed.
fn refused(error: AcquireError, run: &Run, cwd: &Path) -> anyhow::Error {
    match &error {
        AcquireError::Denied(Denial::MountRefused { path, reason })
            if *path == cwd.to_string_lossy() && run.bind.is_empty() && run.ro_bind.is_empty() =>
        {
            anyhow!("failed to change to directory {path}: {reason}")
        }
        AcquireError::Prepare(Failure { step: Step::MountPoint, errno, subject })
            if *errno == Errno::EROFS as i32 =>
        {
            anyhow!(
                "there is no {} to mount on, and it cannot be made in the host's read-only files: \
                 name a path that exists, or one in a private place such as /tmp",
                String::from_utf8_lossy(subject)
            )
        }
        AcquireError::Prepare(failure @ Failure { step: Step::AttachMount, errno, .. }) => {
            match why_not_mounted(Errno::from_raw(*errno)) {
                Some(why) => anyhow!("{failure}: {why}"),
                None => error.into(),
            }
        }
        AcquireError::Request(RequestError::Session(_)) => unserved(error.into(), &run.server),
        _ => error.into(),
    }
}

/// What is likely wrong where the kernel attaches no mount (move_mount(2)).
fn why_not_mounted(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::EINVAL | Errno::ENOTDIR => Some(
            "a directory is mounted on a directory, a file on a file, and nothing on /: name another \
             DST",
        ),
        Errno::EACCES => Some("a directory on the way to it is closed to you: name another DST"),
        Errno::ENOSPC => Some("there are as many mounts as sysctl fs.mount-max allows"),
        _ => None,
    }
}

fn add_mount(options: &mut LeaseOptions, mount: &MountFlag) -> anyhow::Result<()> {
    match mount {
        MountFlag::Tmpfs { target } => {
            options.tmpfs(from_here(OsStr::from_bytes(target.as_bytes()))?);
        }
        MountFlag::Bind { spec, read_only } => {
            let mut parts = spec.as_bytes().splitn(2, |byte| *byte == b':').map(OsStr::from_bytes);
            let source = from_here(parts.next().unwrap_or_default())?;
            let target = parts.next().map(checked_target).transpose()?;
            let target = target.map_or_else(|| Ok(source.clone()), from_here)?;
            if *read_only {
                options.ro_bind(source, target);
            } else {
                options.bind(source, target);
            }
        }
    }
    Ok(())
}

/// What others write behind a mount's target is part of no path here: `:ro` would be bound writable.
fn checked_target(target: &OsStr) -> anyhow::Result<&OsStr> {
    match target.as_bytes().rsplit(|byte| *byte == b':').next() {
        Some(b"ro" | b"rw") if target.as_bytes().contains(&b':') => bail!(
            "{} does not end in :ro or :rw here: --ro-bind SRC[:DST] is read-only, --bind writable",
            target.display()
        ),
        _ => Ok(target),
    }
}

/// A path given on the command line, relative to where zyg was started.
fn from_here(path: &OsStr) -> anyhow::Result<PathBuf> {
    if path.is_empty() {
        bail!("a mount needs a path: SRC[:DST]");
    }
    let path = std::path::absolute(path).with_context(|| format!("bad path {}", path.display()))?;
    let plain = path.components().all(|component| component != Component::ParentDir);
    Ok(if plain { path } else { path.canonicalize().unwrap_or(path) })
}

fn describe(
    command: &mut Command<'_>,
    run: &Run,
    variables: &[VariableFlag],
    cwd: &Path,
) -> anyhow::Result<()> {
    command.args(&run.command[1..]).sweep(true);
    if run.chdir.is_some() {
        // Otherwise the lease knows: here, or where a profile that hides it starts commands.
        command.current_dir(cwd);
    }
    if run.clearenv {
        command.env_clear();
    }
    for flag in variables {
        let entry = match flag {
            VariableFlag::Unset { key } => {
                command.env_remove(key);
                continue;
            }
            VariableFlag::Set { entry } => entry,
        };
        let bytes = entry.as_bytes();
        let Some(equals) = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0) else {
            bail!("--setenv {} is not of the form KEY=VALUE", entry.display());
        };
        let (key, value) = (&bytes[..equals], &bytes[equals + 1..]);
        command.env(OsStr::from_bytes(key), OsStr::from_bytes(value));
    }
    let mask = umask(Mode::empty());
    umask(mask);
    command.umask(mask.bits()).nice(zygote::nice()).cpus(zygote::cpus());
    for limit in limits() {
        command.rlimit(limit);
    }
    Ok(())
}

/// The caller's own resource limits (getrlimit(2)): a command run here would have them.
fn limits() -> impl Iterator<Item = Rlimit> {
    use nix::sys::resource::{Resource, getrlimit};
    let all = [
        Resource::RLIMIT_AS,
        Resource::RLIMIT_CORE,
        Resource::RLIMIT_CPU,
        Resource::RLIMIT_DATA,
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_MEMLOCK,
        Resource::RLIMIT_NOFILE,
        Resource::RLIMIT_NPROC,
        Resource::RLIMIT_STACK,
    ];
    all.into_iter().filter_map(|resource| {
        let (soft, hard) = getrlimit(resource).ok()?;
        Some(Rlimit { resource: resource as u32, soft, hard })
    })
}

/// Waits for the command's end, passing on signals and a terminal's traffic; `None` when the
/// deadline came first.
fn watch(
    child: &mut Child,
    mut signals: Signals,
    mut relay: Option<&mut Relay>,
    deadline: Option<Instant>,
) -> anyhow::Result<Option<ExitStatus>> {
    let command = child.signals();
    if let Some(relay) = &mut relay {
        relay.begin(child)?;
    }
    loop {
        if let Some(ended) = child.try_wait()? {
            return Ok(Some(ended));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        // Rounded up, so that the deadline has passed on waking.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![
            PollFd::new(child.readiness(), PollFlags::POLLIN),
            PollFd::new(signals.pipe().as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(relay.iter().flat_map(|relay| relay.interest()));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("failed to wait for the command"),
        }
        let signalled = fds[1].any().unwrap_or(false);
        drop(fds);
        if signalled {
            signals.forward(&command, relay.as_deref_mut())?;
        }
        if let Some(relay) = &mut relay {
            relay.carry();
        }
    }
}

/// Closes our copies of what the command has now: who is at the other end of a pipe must see that
/// the command has closed it, as long as zyg runs too. Standard error stays, for what zyg has to
/// say.
fn let_go_of_streams() -> std::io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(())
}

/// Ends the lease and waits until nothing of it is left.
fn end(lease: Lease) -> anyhow::Result<()> {
    lease.release().context("failed to wait for the end of the environment")
}

fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128 + signal as u8,
        (None, None) => EXIT_FAILED,
    }
}

/// The exit code for a command that never ran, with the reason on standard error.
fn not_started(
    error: &SpawnError,
    run: &Run,
    cwd: &Path,
    program: Option<&Path>,
) -> anyhow::Result<u8> {
    let name = run.command[0].display();
    let (step, errno) = match error.failure() {
        Some(Failure { step: step @ (Step::Execute | Step::Interpreter), errno, .. }) => {
            (*step, Errno::from_raw(*errno))
        }
        _ => return Err(anyhow::anyhow!("{error}")),
    };
    let (code, why) = match errno {
        _ if step == Step::Interpreter => (
            EXIT_NOT_EXECUTABLE,
            "the file is there, but its interpreter is not (see its first line, or `file`)",
        ),
        Errno::ENOENT | Errno::ENOTDIR if program.is_some() => (
            EXIT_NOT_FOUND,
            "it is on the host, and not in the environment: the profile does not show it, or a \
             mount covers it (--ro-bind shows it)",
        ),
        Errno::ENOENT | Errno::ENOTDIR if is_forbidden(&cwd.join(&run.command[0])) => {
            (EXIT_NOT_EXECUTABLE, Errno::EACCES.desc())
        }
        Errno::ENOENT | Errno::ENOTDIR => (EXIT_NOT_FOUND, "command not found"),
        Errno::EACCES if program.is_some_and(Path::is_dir) => {
            (EXIT_NOT_EXECUTABLE, "it is a directory")
        }
        Errno::E2BIG => (EXIT_NOT_EXECUTABLE, "its arguments and environment are too large"),
        errno => (EXIT_NOT_EXECUTABLE, errno.desc()),
    };
    complain(&format!("failed to execute {name}: {why}"));
    Ok(code)
}

/// Whether the caller may not even look whether the file is there.
fn is_forbidden(path: &Path) -> bool {
    path.metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Where `--json-status-fd` writes to, if it is given, until that fails: the command goes on without it.
struct StatusLines(Option<File>);

impl StatusLines {
    fn open(number: Option<i32>) -> anyhow::Result<Self> {
        let Some(number) = number else { return Ok(Self(None)) };
        let descriptor = zygote::inherited_descriptor(number)
            .with_context(|| format!("--json-status-fd {number} is not open"))?;
        let flags = OFlag::from_bits_truncate(fcntl(&descriptor, FcntlArg::F_GETFL)?);
        if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
            bail!("--json-status-fd {number} is not open for writing");
        }
        Ok(Self(Some(File::from(descriptor))))
    }

    fn end(&mut self, code: u8, signal: Option<i32>, timed_out: bool) {
        self.line(&serde_json::json!({
            "exit-code": code, "signal": signal, "timed-out": timed_out,
        }));
    }

    fn line(&mut self, value: &serde_json::Value) {
        let Some(file) = &mut self.0 else { return };
        if let Err(error) = file.write_all(format!("{value}\n").as_bytes()) {
            complain(&format!("failed to write the JSON status: {error}"));
            self.0 = None;
        }
    }
}
