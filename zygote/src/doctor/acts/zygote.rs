//! A whole environment: a template, a zygote of it, and `true` run in it, as a server and a client
//! would. All of it ends with the step's process: template and init leave when nobody listens.

use super::child::wait_readable;
use super::server::{hear, say};
use super::{Doing, Done, Trouble};
use crate::config::{Place, Profile};
use crate::filter::{Wanted, compile};
use crate::template::ROLE;
use crate::users;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{getgid, getuid};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use zyg_protocol::codec::encode;
use zyg_protocol::message::{
    Bytes, Exec, ExitStatus, FromInit, FromTemplate, Lifeline, Recipe, Strings, ToInit, ToTemplate,
};
use zyg_protocol::socket::{pair, send};

/// The uid that files of nobody's belong to, on every distribution.
const NOBODY: u32 = 65_534;

pub(super) fn own() -> Done {
    whole(getuid().as_raw(), getgid().as_raw())
}

/// As the system service does it, whose root keeps nothing but the right to become somebody else.
pub(super) fn of_another() -> Done {
    if !getuid().is_root() {
        return Ok("not needed: an ordinary user's server serves that user alone".to_owned());
    }
    whole(NOBODY, NOBODY)
}

fn whole(uid: u32, gid: u32) -> Done {
    let (link, mut template) = start_template()?;
    let done = build(&link, recipe(uid, gid)?);
    // The end of the link ends the template, and with it the zygote.
    drop(link);
    let _ = template.wait();
    done
}

fn start_template() -> Result<(OwnedFd, Child), Trouble> {
    let (ours, theirs) = pair().doing("make a pair of sockets")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(ROLE).env_clear().current_dir("/");
    command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
    let template = command.spawn().doing("start a template")?;
    Ok((ours, template))
}

/// What the default profile asks for.
fn recipe(uid: u32, gid: u32) -> Result<Recipe, Trouble> {
    let user = users::with_uid(uid);
    let mut recipe = Recipe::default();
    (recipe.authority.uid, recipe.authority.gid) = (uid, gid);
    for place in Profile::default().writable {
        match place {
            Place::Path(path) => recipe.view.private.push(Bytes::from(path.as_os_str().as_bytes())),
            Place::Home => {
                let home = user.iter().map(|user| Bytes::from(user.home.as_os_str().as_bytes()));
                recipe.view.layered.extend(home);
            }
            Place::WorkingDirectory => {}
        }
    }
    let filters = compile(&Wanted { nesting: true, ..Wanted::default() })
        .map_err(|error| Trouble::with_errno(Errno::EOPNOTSUPP, error.to_string()))?;
    recipe.authority.user = user.map(|user| user.name);
    recipe.confinement.filters = filters.base;
    recipe.confinement.descriptors =
        getrlimit(Resource::RLIMIT_NOFILE).doing("read the descriptor limit")?;
    Ok(recipe)
}

fn build(link: &OwnedFd, recipe: Recipe) -> Done {
    say(link, &ToTemplate::Build(Box::new(recipe)), "order a template")?;
    let (build_us, read_only) = match hear(link, "the template")?.0 {
        FromTemplate::Ready { build_us, read_only } => (build_us, read_only),
        FromTemplate::Unable(failure) => return Err(failure.into()),
        _ => return Err(Trouble::plain("the template answers something else")),
    };
    let lifeline = order_zygote(link)?;
    let (spawn_us, descriptors) = match hear(&lifeline, "the zygote") {
        Ok((Lifeline::Ready { spawn_us }, descriptors)) => (spawn_us, descriptors),
        Ok((Lifeline::Unable(failure), _)) => return Err(failure.into()),
        Ok((Lifeline::Renewed { .. }, _)) => {
            return Err(Trouble::plain("the zygote answers something else"));
        }
        // It never was: the template says why.
        Err(trouble) => match hear(link, "the template")?.0 {
            FromTemplate::SpawnFailed { failure, .. } => return Err(failure.into()),
            _ => return Err(trouble),
        },
    };
    let [channel, pidfd] = <[OwnedFd; 2]>::try_from(descriptors)
        .map_err(|_| Trouble::plain("a zygote came without its two descriptors"))?;
    run_true(&channel)?;
    // The end of a lease: init sees that nobody is left, and the template that nothing is.
    drop((lifeline, channel));
    wait_readable(pidfd.as_fd(), "see the zygote end")?;
    match hear(link, "the template")?.0 {
        FromTemplate::Gone { slot: 1 } => {}
        _ => return Err(Trouble::plain("the template answers something else")),
    }
    let mut detail = format!("`true` ran; template {build_us} µs, zygote {spawn_us} µs");
    if !read_only.is_empty() {
        let paths: Vec<_> = read_only.iter().map(|path| String::from_utf8_lossy(path)).collect();
        detail.push_str(&format!(", read-only: {}", paths.join(", ")));
    }
    Ok(detail)
}

/// Orders a zygote and returns this end of its lifeline.
fn order_zygote(link: &OwnedFd) -> Result<OwnedFd, Trouble> {
    let (ours, theirs) = pair().doing("make a pair of sockets")?;
    let mut bytes = Vec::new();
    encode(&ToTemplate::Spawn { slot: 1, urgent: true }, &mut bytes)
        .map_err(|error| Trouble::plain(format!("failed to order a zygote: {error}")))?;
    send(link.as_fd(), &bytes, &[theirs.as_fd()]).doing("order a zygote")?;
    Ok(ours)
}

fn run_true(channel: &OwnedFd) -> Result<(), Trouble> {
    let null = File::options().read(true).write(true).open("/dev/null").doing("open /dev/null")?;
    let exec = Exec {
        program: Bytes::from(b"true".as_slice()),
        argv: Strings::from_iter(["true"]),
        env: Strings::from_iter(["PATH=/usr/local/bin:/usr/bin:/bin"]),
        descriptors: vec![0, 1, 2],
        ..Exec::default()
    };
    let mut bytes = Vec::new();
    encode(&ToInit::Exec(exec), &mut bytes)
        .map_err(|error| Trouble::plain(format!("failed to ask for a command: {error}")))?;
    send(channel.as_fd(), &bytes, &[null.as_fd(); 3]).doing("ask for a command")?;
    loop {
        match hear(channel, "the zygote's init")?.0 {
            FromInit::Started { .. } => {}
            FromInit::Exited { status: ExitStatus::Code(0), .. } => return Ok(()),
            FromInit::Failed { failure, .. } => return Err(failure.into()),
            other => return Err(Trouble::plain(format!("`true` did not end well: {other:?}"))),
        }
    }
}
