//! Requests, sound in the main, and what must come of each.

use crate::random::Random;
use crate::values::{b, bad_path, bytes, good_path, number, text, text_of};
use zyg_protocol::limits::{
    ACQUIRES_MAX, LABEL_BYTES_MAX, MESSAGE_BYTES_MAX, MOUNTS_MAX, PROFILE_NAME_BYTES_MAX,
    RESERVE_MS_MAX, WAIT_MS_MAX,
};
use zyg_protocol::message::{Acquire, Bytes, Denial, LeaseId, Mount, Request, RequestId};

/// What must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Silence,
    /// The counts.
    Status,
    /// A reservation.
    Reserved,
    /// A denial as a bad request.
    Bad,
    /// A denial, since there is no such profile.
    NoSuchProfile,
    /// A denial, since the profile is for others.
    NotAllowed,
    /// A lease, or that there is none now.
    Lease,
    /// A lease or any denial.
    Anything,
}

impl Expect {
    /// Whether this answers an acquire of which this is expected.
    pub fn allows(self, denial: &Denial) -> bool {
        match self {
            Self::Silence | Self::Status | Self::Reserved => false,
            Self::Bad => matches!(denial, Denial::BadRequest { .. }),
            Self::NoSuchProfile => matches!(denial, Denial::NoSuchProfile { .. }),
            Self::NotAllowed => matches!(denial, Denial::NotAllowed { .. }),
            Self::Lease => matches!(
                denial,
                Denial::QueueFull { .. }
                    | Denial::DeadlineExpired { .. }
                    | Denial::Cancelled
                    | Denial::MountRefused { .. }
                    | Denial::QuotaExceeded { .. }
            ),
            Self::Anything => true,
        }
    }

    /// Whether its acquire may still be waiting when what was asked later is answered.
    pub fn may_wait(self) -> bool {
        matches!(self, Self::Lease | Self::Anything)
    }
}

/// What a session knows that makes its requests meaningful.
#[derive(Debug)]
pub struct Known<'a> {
    /// Its leases.
    pub own: &'a [LeaseId],
    /// Leases of all sessions, past ones too.
    pub all: &'a [LeaseId],
    /// Its unanswered acquires.
    pub waiting: &'a [RequestId],
    /// A directory that may be shown, writable as well.
    pub directory: &'a str,
}

/// Acquires that may be under way in one session: more would only make the queue full.
const WAITING_MAX: usize = 6;

/// The next request, and what must come of it. It fits into a message.
pub fn request(known: &Known<'_>, random: &mut Random) -> (Request, Expect) {
    match random.weighted(&[30, 20, 30, 12, 8, 2, 2]) {
        0 => (Request::Status { request: id(random) }, Expect::Status),
        1 => (cancel(known, random), Expect::Silence),
        2 => denied(random),
        3 if known.waiting.len() < WAITING_MAX => {
            let acquire = lease(known, random);
            (Request::Acquire(acquire), Expect::Lease)
        }
        4 if known.waiting.len() < WAITING_MAX => wild(random),
        5 if known.waiting.len() < WAITING_MAX => {
            let (mut acquire, few) = (lease(known, random), random.below(8) as u64);
            // Numbers of which either all are pending or none: one would be enough to deny all.
            acquire.request = 1 << 41 | few << 2;
            let count = 1 + (few % 3) as u32;
            (Request::AcquireMany { acquire, count }, Expect::Lease)
        }
        6 => reserve(random),
        _ => (release(known, random), Expect::Silence),
    }
}

/// Few, so that they meet those of other requests.
fn id(random: &mut Random) -> RequestId {
    if random.one_in(4) { number(random) } else { random.below(24) as u64 }
}

fn cancel(known: &Known<'_>, random: &mut Random) -> Request {
    let own = !known.waiting.is_empty() && random.one_in(12);
    let request = if own { *random.pick(known.waiting) } else { id(random) };
    Request::Cancel { request }
}

/// Mostly of what is not its own, so that leases are kept for a while.
fn release(known: &Known<'_>, random: &mut Random) -> Request {
    let lease = match random.below(8) {
        0..2 if !known.own.is_empty() => *random.pick(known.own),
        0..=4 if !known.all.is_empty() => *random.pick(known.all),
        _ => LeaseId(number(random)),
    };
    Request::Release { lease }
}

/// A reservation, small and short, so that what others ask for is still built.
fn reserve(random: &mut Random) -> (Request, Expect) {
    // Not a number of an acquire: those are denied in another order when they wait.
    let (request, count) = (1 << 40 | random.below(24) as u64, random.below(3) as u32);
    let mut profile = [None, Some("default".into())][random.below(2)].clone();
    let (mut ttl_ms, mut expect) = (random.below(50) as u64, Expect::Reserved);
    match random.below(8) {
        0 => (ttl_ms, expect) = (RESERVE_MS_MAX + 1 + number(random) / 2, Expect::Bad),
        1 => (profile, expect) = (Some(no_profile(random)), Expect::NoSuchProfile),
        2 => (profile, expect) = (Some("closed".into()), Expect::NotAllowed),
        _ => {}
    }
    (Request::Reserve { request, profile, count, ttl_ms }, expect)
}

/// An acquire with one thing wrong.
fn denied(random: &mut Random) -> (Request, Expect) {
    let mut acquire = Acquire { request: id(random), ..Acquire::default() };
    let tmpfs = |target| vec![Mount::Tmpfs { target }];
    let mut expect = Expect::Bad;
    match random.weighted(&[2, 2, 1, 2, 2, 2, 2, 2, 1, 4, 4, 2]) {
        0 => {
            let more = if random.one_in(16) { 60_000 } else { LABEL_BYTES_MAX + 1 };
            acquire.label = text_of(random, more);
        }
        1 => {
            let more = if random.one_in(16) { 60_000 } else { PROFILE_NAME_BYTES_MAX + 1 };
            acquire.profile = Some(text_of(random, more));
        }
        2 => {
            let mount = Mount::Tmpfs { target: b("/x") };
            acquire.mounts = vec![mount; MOUNTS_MAX + 1 + random.below(3)];
        }
        3 => acquire.wait_ms = Some(WAIT_MS_MAX + 1 + number(random) / 2),
        4 => acquire.cwd = Some(bad_path(random)),
        5 => acquire.program = Some(bad_path(random)),
        6 => acquire.mounts = tmpfs(bad_path(random)),
        7 => acquire.mounts = bind(bad_path(random), b("/x"), random),
        8 => acquire.mounts = tmpfs(b("/")),
        9 => {
            acquire.profile = Some(no_profile(random));
            expect = Expect::NoSuchProfile;
        }
        10 => {
            let count = *random.pick(&[0, ACQUIRES_MAX + 1, u32::MAX]);
            return (Request::AcquireMany { acquire, count }, Expect::Bad);
        }
        _ => {
            acquire.profile = Some("closed".into());
            expect = Expect::NotAllowed;
        }
    }
    (Request::Acquire(acquire), expect)
}

fn no_profile(random: &mut Random) -> String {
    let names = ["", "nonesuch", "default ", "../default", "\0", "DEFAULT"];
    if random.one_in(2) {
        return (*random.pick(&names)).to_owned();
    }
    text_of(random, PROFILE_NAME_BYTES_MAX)
}

fn bind(source: Bytes, target: Bytes, random: &mut Random) -> Vec<Mount> {
    vec![Mount::Bind { source, target, read_only: random.one_in(2) }]
}

/// An acquire with nothing wrong.
fn lease(known: &Known<'_>, random: &mut Random) -> Acquire {
    let mut acquire = Acquire { request: id(random), ..Acquire::default() };
    acquire.profile = [None, Some("default".into()), Some("quota".into())][random.below(3)].clone();
    acquire.wait_ms =
        *random.pick(&[None, None, None, Some(0), Some(1), Some(20), Some(WAIT_MS_MAX)]);
    acquire.time_ms = *random.pick(&[None, None, None, Some(0), Some(5), Some(u64::MAX)]);
    let label = *random.pick(&[0, 1, 20, LABEL_BYTES_MAX]);
    acquire.label = text_of(random, label);
    if random.one_in(4) {
        acquire.cwd = Some(good_path(random));
    }
    if random.one_in(8) {
        acquire.program = Some(good_path(random));
    }
    if random.one_in(6) {
        acquire.mounts = mounts(known, random);
    }
    acquire
}

fn mounts(known: &Known<'_>, random: &mut Random) -> Vec<Mount> {
    let read_only = |source| Mount::Bind { source, target: b("/tmp/y"), read_only: true };
    match random.below(6) {
        0 => vec![Mount::Tmpfs { target: b("/tmp/z") }; MOUNTS_MAX],
        1 => vec![read_only(b("/nonesuch"))],
        2 => vec![read_only(b("/usr")); 1 + random.below(8)],
        3 => vec![read_only(b("/dev/null"))],
        4 => vec![read_only(good_path(random))],
        _ => bind(b(known.directory), b("/tmp/w"), random),
    }
}

/// An acquire of anything at all, as long as it fits, under a number of its own. It binds nothing
/// that could be written to.
fn wild(random: &mut Random) -> (Request, Expect) {
    let mut acquire = Acquire {
        request: random.next(),
        profile: random.one_in(4).then(|| text(random)),
        wait_ms: random.one_in(2).then(|| number(random)),
        time_ms: random.one_in(2).then(|| number(random)),
        label: text(random),
        cwd: random.one_in(2).then(|| bytes(random)),
        program: random.one_in(2).then(|| bytes(random)),
        mounts: Vec::new(),
    };
    if random.one_in(2) {
        acquire.mounts = vec![Mount::Tmpfs { target: bytes(random) }; random.below(4)];
    }
    if random.one_in(64) {
        acquire = nearly_too_long(acquire.request, random);
    }
    let used = weight(&acquire);
    if used > MESSAGE_BYTES_MAX - 200 && acquire.mounts.len() < MOUNTS_MAX {
        return (Request::Status { request: acquire.request }, Expect::Status);
    }
    (Request::Acquire(acquire), Expect::Anything)
}

/// As many mounts as there may be, with targets that make the message as long as it may be.
fn nearly_too_long(request: RequestId, random: &mut Random) -> Acquire {
    // Header, number, and one byte each for the variant, six empty fields and the number of mounts;
    // then a variant and three bytes of length for each mount.
    let spare = MESSAGE_BYTES_MAX - 16 - 9 - 8 - 4 * MOUNTS_MAX;
    let each = spare / MOUNTS_MAX;
    let target = |length: usize| {
        let mut path = vec![b'm'; length];
        path[..5].copy_from_slice(b"/tmp/");
        Mount::Tmpfs { target: Bytes::from(path) }
    };
    let mut mounts = vec![target(each); MOUNTS_MAX];
    mounts[0] = target(each + spare % MOUNTS_MAX - random.below(24));
    Acquire { request, mounts, ..Acquire::default() }
}

/// About how many bytes it has.
fn weight(acquire: &Acquire) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
    let mounts = acquire.mounts.iter().map(|mount| match mount {
        Mount::Bind { source, target, .. } => source.len() + target.len(),
        Mount::Tmpfs { target } => target.len(),
    });
    acquire.label.len()
        + acquire.profile.as_ref().map_or(0, String::len)
        + length(&acquire.cwd)
        + length(&acquire.program)
        + mounts.sum::<usize>()
}
