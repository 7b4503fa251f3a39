//! What cannot hold together, in a profile with all that it inherits.
//!
//! Each contradiction is between two things that were said. It is told in the profile that says one
//! of them, so that none is told again for whatever extends it; and nothing is concluded from what
//! is wrong by itself.

mod places;
mod recycle;

use super::capabilities::{self, NET_ADMIN, NET_BIND_SERVICE, NET_RAW};
use super::draft::{Draft, Key, List, Origin, Said};
use super::profile::{Etc, Identity, Network, Place, Root, Seccomp};
use super::read::Mistake;
use super::{ENV_BYTES_MAX, Server, profile::Home};

/// Calls that make or enter a namespace: what forbidding to nest denies.
const NESTING: [&str; 2] = ["setns", "unshare"];

/// Complains about all that is contradictory in a profile, and between it and the server.
pub(super) fn find(name: &str, draft: &Draft, server: &Server, mistakes: &mut Vec<Mistake>) {
    let mut judge = Judge { name, draft, server, mistakes };
    judge.root();
    judge.etc();
    judge.network();
    judge.nesting();
    judge.recycle();
    judge.identity();
    judge.counts();
    judge.times();
    judge.env();
    judge.places();
}

struct Judge<'a> {
    /// Of the profile.
    name: &'a str,
    draft: &'a Draft,
    server: &'a Server,
    mistakes: &'a mut Vec<Mistake>,
}

/// One side of a contradiction.
#[derive(Clone, Copy)]
struct Side<'a> {
    key: &'a str,
    origin: &'a Origin,
}

impl<'a> Side<'a> {
    fn new<T>(key: &'a str, said: &'a Said<T>) -> Self {
        Self { key, origin: &said.origin }
    }
}

impl Judge<'_> {
    /// Where this very profile says it.
    fn own(&self, origin: &Origin) -> Option<usize> {
        origin.offset.filter(|_| *origin.profile == *self.name)
    }

    /// Notes a contradiction: at the subject if this profile says it, else at the object.
    fn clash(&mut self, subject: Side<'_>, object: Side<'_>, message: &str) {
        let (offset, other) = match (self.own(subject.origin), self.own(object.origin)) {
            (Some(offset), _) => (offset, object),
            (None, Some(offset)) => (offset, subject),
            (None, None) => return,
        };
        let mut message = message.to_owned();
        if self.own(other.origin).is_none() {
            let built_in = if other.origin.offset.is_none() { "the built-in " } else { "" };
            let profile = &other.origin.profile;
            message.push_str(&format!(" (`{}` is from {built_in}`{profile}`)", other.key));
        }
        self.mistakes.push(Mistake { offset, message });
    }

    fn root(&mut self) {
        let draft = self.draft;
        let Some(root) = draft.root.get().filter(|root| root.value == Root::Empty) else { return };
        if let Some(overlay) = draft.root_overlay.get().filter(|overlay| overlay.value) {
            self.clash(
                Side::new("root_overlay", overlay),
                Side::new("root", root),
                "`root_overlay` needs a tree, and `root` is \"empty\": list what is to be written \
                 in `writable`",
            );
        }
        let (Some(read_only), Some(bind)) = (draft.read_only.get(), draft.bind.get()) else {
            return;
        };
        if read_only.value.is_empty() && bind.value.is_empty() {
            let offsets = [&root.origin, &read_only.origin, &bind.origin];
            if let Some(offset) = offsets.into_iter().find_map(|origin| self.own(origin)) {
                let message = "`root = \"empty\"` shows nothing: list what is to be seen in \
                               `read_only`, such as [\"/usr\", \"/bin\", \"/lib*\"]";
                self.mistakes.push(Mistake { offset, message: message.into() });
            }
        }
    }

    fn etc(&mut self) {
        let draft = self.draft;
        let (Some(root), Some(etc)) = (draft.root.get(), draft.etc.get()) else { return };
        if let (Root::Directory(_), Etc::Minimal) = (&root.value, etc.value) {
            self.clash(
                Side::new("etc", etc),
                Side::new("root", root),
                "`etc = \"minimal\"` is for the host's programs, and the `root` is a directory with \
                 an /etc of its own: say etc = \"host\"",
            );
        }
    }

    /// A capability that would do nothing is one that somebody relies on in vain.
    fn network(&mut self) {
        let draft = self.draft;
        let Some(network) = draft.network.get() else { return };
        for said in items(&draft.capabilities) {
            let (name, better) = match (network.value, said.value) {
                (Network::Host, NET_BIND_SERVICE) => ("host", "loopback"),
                (Network::Host, NET_ADMIN | NET_RAW) => ("host", "own"),
                (Network::Loopback, NET_ADMIN | NET_RAW) => ("loopback", "own"),
                _ => continue,
            };
            let capability = capabilities::name(said.value);
            let message = format!(
                "`capabilities` has {capability:?}, which does nothing with `network = {name:?}`: \
                 use network = {better:?}"
            );
            self.clash(Side::new("capabilities", said), Side::new("network", network), &message);
        }
    }

    fn nesting(&mut self) {
        let draft = self.draft;
        let (Some(nesting), Some(seccomp)) = (draft.nesting.get(), draft.seccomp.get()) else {
            return;
        };
        if nesting.value {
            return;
        }
        let message = match &seccomp.value {
            Seccomp::Default => return,
            Seccomp::Off => "`seccomp = \"off\"` leaves nothing that could enforce \
                             `nesting = false`: say nesting = true"
                .to_owned(),
            Seccomp::Changed { allow, .. } => {
                let Some(call) = allow.iter().find(|call| NESTING.contains(&call.as_str())) else {
                    return;
                };
                format!("`seccomp` allows {call:?}, which `nesting = false` denies: remove one")
            }
        };
        self.clash(Side::new("seccomp", seccomp), Side::new("nesting", nesting), &message);
    }

    fn identity(&mut self) {
        let draft = self.draft;
        let Some(identity) = draft.identity.get().filter(|said| said.value == Identity::Slice)
        else {
            return;
        };
        let private_home = matches!(draft.home.get(), Some(Said { value: Home::Private(_), .. }));
        let slice = Side::new("identity", identity);
        for said in items(&draft.writable) {
            let place = match said.value {
                Place::Home if !private_home => "~",
                Place::WorkingDirectory => ".",
                Place::Home | Place::Path(_) => continue,
            };
            let message = format!(
                "`writable` has {place:?}, to which `identity = \"slice\"` has no right: remove it"
            );
            self.clash(Side::new("writable", said), slice, &message);
        }
        for said in items(&draft.bind).iter().filter(|said| !said.value.read_only) {
            let message = "`bind` is for writing, and with `identity = \"slice\"` what is written \
                           would belong to a later lease: say read_only = true";
            self.clash(Side::new("bind", said), slice, message);
        }
    }

    fn counts(&mut self) {
        let draft = self.draft;
        self.at_most(("min", &draft.pool_min), ("`max`", &draft.pool_max));
        self.at_most(("leases", &draft.quota_leases), ("`max` of `pool`", &draft.pool_max));
        let waiters_max = ("`waiters_max` of `pool`", &draft.pool_waiters_max);
        self.at_most(("waiters", &draft.quota_waiters), waiters_max);
        let Server { zygotes_max, quota, .. } = self.server;
        self.within(("min", &draft.pool_min), ("zygotes_max", *zygotes_max));
        self.within(("leases", &draft.quota_leases), ("quota.leases", quota.leases));
        self.within(("waiters", &draft.quota_waiters), ("quota.waiters", quota.waiters));
    }

    /// As [`Judge::at_most`], for a bound of the server's.
    fn within(&mut self, (key, count): (&str, &Key<u32>), (bound, most): (&str, Option<u32>)) {
        let (Some(count), Some(most)) = (count.get(), most) else { return };
        if let Some(offset) = self.own(&count.origin).filter(|_| count.value > most) {
            let message =
                format!("`{key}` ({}) exceeds `{bound}` of `server` ({most})", count.value);
            self.mistakes.push(Mistake { offset, message });
        }
    }

    fn times(&mut self) {
        let draft = self.draft;
        let Some(idle) = draft.pool_idle.get() else { return };
        if let Some(sleep) = draft.pool_sleep.get().filter(|sleep| sleep.value < idle.value) {
            self.clash(
                Side::new("sleep", sleep),
                Side::new("idle", idle),
                "`sleep` is shorter than `idle`, which would do nothing: say a longer sleep",
            );
        }
        if let Some(quiet) = draft.pool_quiet.get().filter(|quiet| quiet.value >= idle.value) {
            self.clash(
                Side::new("quiet", quiet),
                Side::new("idle", idle),
                "`quiet` is as long as `idle`, so nothing would be built in time: say a shorter one",
            );
        }
    }

    /// Only what this profile says can exceed: a bound that is set lowers what is inherited.
    fn at_most(&mut self, (key, count): (&str, &Key<u32>), (bound, most): (&str, &Key<u32>)) {
        let (Some(count), Some(most)) = (count.get(), most.get()) else { return };
        let Some(offset) = self.own(&count.origin).filter(|_| count.value > most.value) else {
            return;
        };
        let unset = if self.own(&most.origin).is_none() { ", unless it is set" } else { "" };
        let message = format!("`{key}` ({}) exceeds {bound} ({}{unset})", count.value, most.value);
        self.mistakes.push(Mistake { offset, message });
    }

    fn env(&mut self) {
        let env = &self.draft.env;
        let bytes: usize = env.iter().map(|(name, said)| name.len() + said.value.len() + 2).sum();
        let first = env.values().filter_map(|said| self.own(&said.origin)).min();
        if let Some(offset) = first.filter(|_| bytes > ENV_BYTES_MAX) {
            let message = format!("`env` has at most {ENV_BYTES_MAX} bytes in all");
            self.mistakes.push(Mistake { offset, message });
        }
    }
}

/// What a list has; nothing if that is not known.
fn items<T>(list: &List<T>) -> &[Said<T>] {
    list.get().map_or(&[], |said| &said.value)
}
