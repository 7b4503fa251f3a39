//! From a profile and a user to what a template is told to prepare.

use super::visible::Writable;
use crate::config::{self, Etc, Home, HostPath, Identity, Location, Place, Profile, Seccomp};
use crate::filter::{self, FilterError, Filters, Wanted};
use crate::users::{self, User};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zyg_protocol::message::{
    Authority, Bytes, Confinement, Network, Recipe, Recycle, Rlimit, Root, Slices, View, ViewBind,
};

/// Where programs look for name servers (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";

/// What a recipe is made from, beside the profile.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub uid: u32,
    /// Soft and hard descriptor limit that the server was started with.
    pub nofile: (u64, u64),
    pub filters: &'a Filters,
    pub slices: Option<Slices>,
    /// Where the server listens.
    pub socket: &'a Path,
}

/// The recipe, and what it makes writable.
///
/// # Errors
/// Why it is not certain whose authority that would be, in words for a client.
pub(super) fn recipe(profile: &Profile, facts: &Facts<'_>) -> Result<(Recipe, Writable), String> {
    let (user, gid) = identity(facts.uid)?;
    let client_home = user.as_ref().map(|user| real(&user.home));
    let mut writable = writable(profile, client_home.as_deref());
    let authority = Authority {
        uid: facts.uid,
        gid,
        user: user.map(|user| user.name),
        inside: match profile.user {
            config::User::Client => None,
            config::User::Fixed { uid, gid } => Some((uid, gid)),
        },
        slices: facts.slices,
    };
    let confinement = Confinement {
        capabilities: profile.capabilities,
        filters: facts.filters.base.clone(),
        command_filters: facts.filters.command.clone(),
        descriptors: facts.nofile,
        rlimits: profile.limits.rlimits().into_iter().map(rlimit).collect(),
    };
    let mut view = view(profile, &writable, client_home.as_deref());
    // A command that could ask for environments would be shown there what is not shown here.
    view.hidden.push(bytes(&real(facts.socket)));
    writable.hidden.clone_from(&view.hidden);
    writable.binds = view.binds.iter().map(|bind| (bind.target.clone(), bind.read_only)).collect();
    let recipe = Recipe {
        authority,
        view,
        network: match profile.network {
            config::Network::Loopback => Network::Loopback,
            config::Network::Own => Network::Own,
            config::Network::Host => Network::Host,
        },
        recycle: recycle(profile),
        confinement,
        hostname: profile.hostname.clone(),
        env: profile
            .env
            .iter()
            .map(|(key, value)| Bytes::from(format!("{key}={value}").into_bytes()))
            .collect(),
    };
    Ok((recipe, writable))
}

/// Who a user is, and in which group before all others. One whom the user database does not know is in
/// that of the same number, which must be nobody else's.
fn identity(uid: u32) -> Result<(Option<User>, u32), String> {
    if let Some(gid) = own_gid(uid) {
        return Ok((users::with_uid(uid), gid));
    }
    let unsure = |why| format!("it is not certain who uid {uid} is: {why}");
    let user = users::look_up(uid).map_err(unsure)?;
    if user.is_none() && users::is_group(uid).map_err(unsure)? {
        return Err(format!(
            "the user database does not know uid {uid}, and the number is that of a group; give uid \
             {uid} a line in /etc/passwd (useradd -u {uid} NAME)"
        ));
    }
    let gid = user.as_ref().map_or(uid, |user| user.gid);
    Ok((user, gid))
}

/// The groups that the template of a recipe takes on by the user database; `None` where it is whoever
/// started the server, or nobody that there is.
pub(super) fn groups(recipe: &Recipe) -> Option<Vec<u32>> {
    let Authority { uid, gid, user, slices, .. } = &recipe.authority;
    let other = nix::unistd::getuid().as_raw() != *uid && slices.is_none();
    let user = user.as_ref().filter(|_| other)?;
    Some(users::groups_of(user, *gid))
}

/// The filters that a profile asks for; none where it is off.
///
/// # Errors
/// A name that is no system call's, in the main.
pub(super) fn filters(profile: &Profile) -> Result<Filters, FilterError> {
    wanted(profile).map_or_else(|| Ok(Filters::default()), |wanted| filter::compile(&wanted))
}

/// What is asked of the filter; nothing where it is off.
fn wanted(profile: &Profile) -> Option<Wanted> {
    let (allow, deny) = match &profile.seccomp {
        Seccomp::Off => return None,
        Seccomp::Default => (Vec::new(), Vec::new()),
        Seccomp::Changed { allow, deny } => (allow.clone(), deny.clone()),
    };
    Some(Wanted { allow, deny, nesting: profile.nesting })
}

/// What is used again: what tells that nothing is left in a network namespace knows the families of
/// sockets that the filter lets through.
pub(super) fn recycle(profile: &Profile) -> Recycle {
    let confined = wanted(profile).is_some_and(|wanted| wanted.confines_sockets());
    match profile.recycle {
        config::Recycle::Whole if confined => Recycle::Whole,
        config::Recycle::Parts if confined => Recycle::Parts,
        config::Recycle::Whole | config::Recycle::Parts | config::Recycle::None => Recycle::None,
    }
}

/// Whether each zygote is to have ids of its own.
pub(super) fn wants_slices(profile: &Profile) -> bool {
    profile.identity == Identity::Slice
}

fn rlimit((resource, value): (u32, u64)) -> Rlimit {
    Rlimit { resource, soft: value, hard: value }
}

fn view(profile: &Profile, writable: &Writable, client_home: Option<&Path>) -> View {
    let none = Path::new("/nonexistent");
    let client_home = client_home.unwrap_or(none);
    let home_inside = match &profile.home {
        Home::Client => client_home,
        Home::Private(path) => path,
    };
    let bind = |bind: &config::Bind| ViewBind {
        source: bytes(&bind.source.with_home(client_home)),
        target: bytes(&bind.target.with_home(home_inside)),
        read_only: bind.read_only,
    };
    let hidden = |location: &Location| bytes(&location.with_home(home_inside));
    let mut binds: Vec<ViewBind> = profile.bind.iter().map(bind).collect();
    if profile.network == config::Network::Host && writable.host {
        binds.splice(..0, resolver(Path::new(RESOLVER), &writable.private));
    }
    View {
        root: match &profile.root {
            config::Root::Host => Root::Host,
            config::Root::Empty => Root::Empty,
            config::Root::Directory(path) => Root::Directory(bytes(path)),
        },
        root_overlay: profile.root_overlay,
        shown: profile.read_only.iter().map(pattern).collect(),
        hidden: profile.hide.iter().map(hidden).collect(),
        binds,
        minimal_etc: profile.etc == Etc::Minimal,
        private: writable.private.clone(),
        layered: writable.layered.clone(),
        tmp_bytes: profile.limits.tmp_size,
        tmp_inodes: profile.limits.tmp_inodes,
    }
}

/// What names the host's name servers, for whoever has the host's network, where it is a link into a
/// private place, as systemd-resolved and resolvconf(8) have it (`/run`).
fn resolver(link: &Path, private: &[Bytes]) -> Option<ViewBind> {
    let real = fs::canonicalize(link).ok().filter(|real| real.is_file())?;
    let is_private = private.iter().any(|place| real.starts_with(OsStr::from_bytes(place)));
    let path = bytes(&real);
    is_private.then(|| ViewBind { source: path.clone(), target: path, read_only: true })
}

fn pattern(path: &HostPath) -> Bytes {
    match path {
        HostPath::Exact(path) => bytes(path),
        HostPath::Matching { directory, prefix } => bytes(&directory.join(format!("{prefix}*"))),
    }
}

/// The profile's writable places for one user: `~` becomes its home, `.` each client's own matter.
fn writable(profile: &Profile, client_home: Option<&Path>) -> Writable {
    let host = profile.root == config::Root::Host;
    let mut writable = Writable { host, ..Writable::default() };
    for place in &profile.writable {
        match place {
            Place::WorkingDirectory => writable.cwd = true,
            Place::Home => {
                let below_root = client_home.filter(|home| host && *home != Path::new("/"));
                writable.layered.extend(below_root.map(bytes));
            }
            Place::Path(path) => writable.private.push(bytes(path)),
        }
    }
    if let Home::Private(path) = &profile.home {
        writable.private.push(bytes(path));
        writable.home = Some(bytes(path));
    }
    writable
}

/// The server's own gid, for its own uid. It need not be the one that the user database names (after
/// newgrp(1), say, or in a container), and a server without privileges can map no other.
fn own_gid(uid: u32) -> Option<u32> {
    (uid == nix::unistd::getuid().as_raw()).then(|| nix::unistd::getgid().as_raw())
}

/// The path without symbolic links, as a client's getcwd(3) has it.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.into())
}

fn bytes(path: &Path) -> Bytes {
    Bytes::from(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn name_servers_that_a_private_place_would_hide_are_shown() {
        let scratch = tempfile::tempdir().unwrap();
        let place = scratch.path().canonicalize().unwrap();
        let (run, etc) = (place.join("run"), place.join("etc"));
        fs::create_dir_all(&run).unwrap();
        fs::create_dir_all(&etc).unwrap();
        let (real, link) = (run.join("stub.conf"), etc.join("resolv.conf"));
        let private = [bytes(&run)];
        symlink("../run/stub.conf", &link).unwrap();
        assert_eq!(resolver(&link, &private), None, "a link that leads nowhere");
        fs::write(&real, "nameserver 127.0.0.53\n").unwrap();
        let path = bytes(&real);
        let shown = ViewBind { source: path.clone(), target: path, read_only: true };
        assert_eq!(resolver(&link, &private), Some(shown));
        assert_eq!(resolver(&link, &[]), None, "what is seen anyway");
    }
}
