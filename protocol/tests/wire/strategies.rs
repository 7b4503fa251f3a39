//! Any message at all, of every type.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use zyg_protocol::message::{
    Acquire, Attach, Authority, Bytes, ColdReason, Confinement, Denial, Exec, ExitStatus, Failure,
    Fate, Fates, FromInit, FromTemplate, Granted, LeaseId, Lifeline, Mount, Network, PoolStatus,
    Prepare, Recipe, Recycle, Refusal, Reply, Request, Rlimit, Root, Scope, Served, Slices, Start,
    Status, Step, Strings, ToInit, ToTemplate, ToZygote, Tree, TtySize, Usage, View, ViewBind,
};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = String> {
    ".{0,20}"
}

fn mount() -> impl Strategy<Value = Mount> {
    prop_oneof![
        (bytes(), bytes(), any::<bool>()).prop_map(|(source, target, read_only)| Mount::Bind {
            source,
            target,
            read_only
        }),
        bytes().prop_map(|target| Mount::Tmpfs { target }),
    ]
}

fn acquire() -> impl Strategy<Value = Acquire> {
    let parts = (
        (any::<u64>(), option::of(text()), option::of(any::<u64>()), option::of(any::<u64>())),
        (text(), option::of(bytes()), option::of(bytes()), vec(mount(), 0..5)),
    );
    parts.prop_map(|((request, profile, wait_ms, time_ms), (label, cwd, program, mounts))| {
        Acquire { request, profile, wait_ms, time_ms, label, cwd, program, mounts }
    })
}

pub fn request() -> impl Strategy<Value = Request> {
    let reserve = (any::<u64>(), option::of(text()), any::<u32>(), any::<u64>());
    prop_oneof![
        acquire().prop_map(Request::Acquire),
        (acquire(), any::<u32>())
            .prop_map(|(acquire, count)| Request::AcquireMany { acquire, count }),
        reserve.prop_map(|(request, profile, count, ttl_ms)| Request::Reserve {
            request,
            profile,
            count,
            ttl_ms
        }),
        (any::<u64>(), option::of(any::<u64>()))
            .prop_map(|(request, timeout_ms)| Request::Drain { request, timeout_ms }),
        any::<u64>().prop_map(|request| Request::Cancel { request }),
        any::<u64>().prop_map(|lease| Request::Release { lease: LeaseId(lease) }),
        any::<u64>().prop_map(|request| Request::Status { request }),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Warm),
        Just(Start::Cold(ColdReason::FirstUse)),
        Just(Start::Cold(ColdReason::Exhausted)),
    ]
}

fn attach() -> impl Strategy<Value = Attach> {
    (0..4, bytes()).prop_map(|(variant, target)| match variant {
        0 => Attach::Tree { target },
        1 => Attach::Layer { target },
        2 => Attach::Cover { target },
        _ => Attach::Tmpfs { target },
    })
}

fn denial() -> impl Strategy<Value = Denial> {
    prop_oneof![
        (text(), vec(text(), 0..5))
            .prop_map(|(asked, known)| Denial::NoSuchProfile { asked, known }),
        text().prop_map(|reason| Denial::BadRequest { reason }),
        any::<(u32, u32)>().prop_map(|(uid, serves)| Denial::NotServed { uid, serves }),
        (text(), any::<u32>()).prop_map(|(profile, uid)| Denial::NotAllowed { profile, uid }),
        (text(), any::<u32>()).prop_map(|(what, limit)| Denial::QuotaExceeded { what, limit }),
        any::<u32>().prop_map(|waiters| Denial::QueueFull { waiters }),
        any::<u64>().prop_map(|wait_ms| Denial::DeadlineExpired { wait_ms }),
        Just(Denial::Cancelled),
        Just(Denial::Draining),
        text().prop_map(|reason| Denial::BuildFailing { reason }),
        (text(), text()).prop_map(|(path, reason)| Denial::MountRefused { path, reason }),
        any::<(u32, u32)>().prop_map(|(uid, serves)| Denial::NotYours { uid, serves }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        any::<u32>().prop_map(|limit| Refusal::TooManySessions { limit }),
        any::<(u32, u32)>().prop_map(|(uid, serves)| Refusal::NotServed { uid, serves }),
        any::<(u16, u16)>().prop_map(|(got, want)| Refusal::WrongVersion { got, want }),
        text().prop_map(|reason| Refusal::Malformed { reason }),
    ]
}

fn fates() -> impl Strategy<Value = Fates> {
    vec((select(&Fate::ALL[..]), any::<u64>()), 0..5).prop_map(Fates::from_iter)
}

fn pool_status() -> impl Strategy<Value = PoolStatus> {
    let pool = (text(), any::<u32>(), any::<(u32, bool)>(), option::of(text()));
    let zygotes = any::<(u32, u32, u32, u32, u32)>();
    let others = (any::<(u32, u32, u32)>(), any::<(u64, u64)>(), fates());
    (pool, zygotes, others).prop_map(|(pool, zygotes, (others, served, fates))| {
        let (name, uid, (generation, retired), failing) = pool;
        let (warm, leased, spawning, dying, quarantined) = zygotes;
        let (waiters, target, reserved) = others;
        let served = Served { warm: served.0, cold: served.1 };
        PoolStatus {
            name,
            uid,
            warm,
            leased,
            spawning,
            dying,
            quarantined,
            waiters,
            target,
            reserved,
            generation,
            retired,
            served,
            fates,
            failing,
        }
    })
}

pub fn reply() -> impl Strategy<Value = Reply> {
    let numbers = any::<(u64, u64, u64, Option<u64>)>();
    let granted = (numbers, start(), option::of(bytes()), vec(attach(), 0..5));
    let status = (any::<(u64, u32, u64, u32)>(), vec(pool_status(), 0..4));
    prop_oneof![
        granted.prop_map(|((request, lease, waited_us, time_ms), start, start_in, attach)| {
            let lease = LeaseId(lease);
            Reply::Granted(Granted { request, lease, start, waited_us, time_ms, start_in, attach })
        }),
        (any::<u64>(), denial()).prop_map(|(request, denial)| Reply::Denied { request, denial }),
        status.prop_map(|((request, pid, uptime_ms, sessions), profiles)| Reply::Status {
            request,
            status: Status { pid, uptime_ms, sessions, profiles }
        }),
        refusal().prop_map(Reply::Refused),
        any::<(u64, u32)>().prop_map(|(request, floor)| Reply::Reserved { request, floor }),
        any::<(u64, u32, u32)>().prop_map(|(request, ended, stuck)| Reply::Drained {
            request,
            ended,
            stuck
        }),
    ]
}

/// Whatever the bytes: with zeros among them, they are other strings.
fn strings() -> impl Strategy<Value = Strings> {
    vec(bytes(), 0..6).prop_map(|all| all.into_iter().collect())
}

pub fn exec() -> impl Strategy<Value = Exec> {
    let rlimit =
        any::<(u32, u64, u64)>().prop_map(|(resource, soft, hard)| Rlimit { resource, soft, hard });
    let tty = any::<(u16, u16)>().prop_map(|(rows, columns)| TtySize { rows, columns });
    (
        (any::<u32>(), bytes(), strings(), strings(), option::of(bytes())),
        (vec(any::<i32>(), 0..8), option::of(tty), vec(rlimit, 0..4)),
        (any::<(Option<u32>, i8, bool, bool)>(), bytes()),
    )
        .prop_map(
            |(
                (command, program, argv, env, cwd),
                (descriptors, tty, rlimits),
                ((umask, nice, sweep, quiet), cpus),
            )| {
                Exec {
                    command,
                    program,
                    argv,
                    env,
                    cwd,
                    descriptors,
                    tty,
                    rlimits,
                    umask,
                    nice,
                    cpus,
                    sweep,
                    quiet,
                }
            },
        )
}

pub fn to_init() -> impl Strategy<Value = ToInit> {
    let scope = prop_oneof![Just(Scope::Process), Just(Scope::Group)];
    prop_oneof![
        (vec(attach(), 0..5), option::of(text()))
            .prop_map(|(attach, hostname)| ToInit::Prepare(Prepare { attach, hostname })),
        exec().prop_map(ToInit::Exec),
        any::<u32>().prop_map(|command| ToInit::ExecStored { command }),
        (any::<(u32, i32)>(), scope).prop_map(|((command, signal), scope)| ToInit::Signal {
            command,
            signal,
            scope
        }),
    ]
}

/// A few are enough: each one has golden bytes.
fn failure() -> impl Strategy<Value = Failure> {
    let step = prop_oneof![Just(Step::BecomeUser), Just(Step::Chdir), Just(Step::Execute)];
    (step, any::<i32>(), bytes()).prop_map(|(step, errno, subject)| Failure {
        step,
        errno,
        subject,
    })
}

pub fn from_init() -> impl Strategy<Value = FromInit> {
    let status = prop_oneof![
        any::<u8>().prop_map(ExitStatus::Code),
        any::<(i32, bool)>()
            .prop_map(|(signal, core_dumped)| ExitStatus::Signal { signal, core_dumped }),
    ];
    let usage =
        any::<(u64, u64, u64, u64)>().prop_map(|(user_us, system_us, wall_us, max_rss_kib)| {
            Usage { user_us, system_us, wall_us, max_rss_kib }
        });
    prop_oneof![
        vec(bytes(), 0..5).prop_map(|read_only| FromInit::Prepared { read_only }),
        failure().prop_map(FromInit::PrepareFailed),
        any::<(u32, u32)>().prop_map(|(command, pid)| FromInit::Started { command, pid }),
        (any::<u32>(), failure())
            .prop_map(|(command, failure)| FromInit::Failed { command, failure }),
        (any::<u32>(), status, usage).prop_map(|(command, status, usage)| FromInit::Exited {
            command,
            status,
            usage
        }),
    ]
}

pub fn to_template() -> impl Strategy<Value = ToTemplate> {
    let parts = (authority(), view(), network(), recycle(), confinement());
    let recipe = (parts, option::of(text()), many()).prop_map(
        |((authority, view, network, recycle, confinement), hostname, env)| Recipe {
            authority,
            view,
            network,
            recycle,
            confinement,
            hostname,
            env,
        },
    );
    let tree = (bytes(), any::<bool>()).prop_map(|(path, read_only)| Tree { path, read_only });
    prop_oneof![
        recipe.prop_map(|recipe| ToTemplate::Build(Box::new(recipe))),
        any::<(u64, bool)>().prop_map(|(slot, urgent)| ToTemplate::Spawn { slot, urgent }),
        any::<u64>().prop_map(|slot| ToTemplate::Destroy { slot }),
        (any::<u64>(), vec(tree, 0..5))
            .prop_map(|(ticket, trees)| ToTemplate::Open { ticket, trees }),
        any::<(u64, u64)>().prop_map(|(slot, next)| ToTemplate::Rename { slot, next }),
        any::<u64>().prop_map(|slot| ToTemplate::Inspect { slot }),
    ]
}

pub fn from_template() -> impl Strategy<Value = FromTemplate> {
    prop_oneof![
        (any::<u64>(), vec(bytes(), 0..3))
            .prop_map(|(build_us, read_only)| FromTemplate::Ready { build_us, read_only }),
        failure().prop_map(FromTemplate::Unable),
        (any::<u64>(), failure())
            .prop_map(|(slot, failure)| FromTemplate::SpawnFailed { slot, failure }),
        any::<u64>().prop_map(|slot| FromTemplate::Gone { slot }),
        any::<u64>().prop_map(|ticket| FromTemplate::Opened { ticket }),
        (any::<u64>(), failure())
            .prop_map(|(ticket, failure)| FromTemplate::OpenFailed { ticket, failure }),
        any::<u64>().prop_map(|slot| FromTemplate::Inspected { slot }),
        any::<u64>().prop_map(|slot| FromTemplate::InDoubt { slot }),
        fates().prop_map(FromTemplate::Became),
    ]
}

pub fn lifeline() -> impl Strategy<Value = Lifeline> {
    prop_oneof![
        any::<u64>().prop_map(|spawn_us| Lifeline::Ready { spawn_us }),
        failure().prop_map(Lifeline::Unable),
        any::<u64>().prop_map(|renew_us| Lifeline::Renewed { renew_us }),
    ]
}

pub fn to_zygote() -> impl Strategy<Value = ToZygote> {
    Just(ToZygote::Renew)
}

fn many() -> impl Strategy<Value = Vec<Bytes>> {
    vec(bytes(), 0..4)
}

fn authority() -> impl Strategy<Value = Authority> {
    let slices = any::<(u32, u32, u32)>().prop_map(|(first_uid, first_gid, count)| Slices {
        first_uid,
        first_gid,
        count,
    });
    (any::<(u32, u32)>(), option::of(text()), any::<Option<(u32, u32)>>(), option::of(slices))
        .prop_map(|((uid, gid), user, inside, slices)| Authority { uid, gid, user, inside, slices })
}

fn network() -> impl Strategy<Value = Network> {
    prop_oneof![Just(Network::Loopback), Just(Network::Own), Just(Network::Host)]
}

fn recycle() -> impl Strategy<Value = Recycle> {
    prop_oneof![Just(Recycle::None), Just(Recycle::Parts), Just(Recycle::Whole)]
}

fn view() -> impl Strategy<Value = View> {
    let root = prop_oneof![Just(Root::Host), Just(Root::Empty), bytes().prop_map(Root::Directory)];
    let bind = (bytes(), bytes(), any::<bool>()).prop_map(|(source, target, read_only)| ViewBind {
        source,
        target,
        read_only,
    });
    let paths = (many(), many(), many(), many());
    let bounds = any::<(Option<u64>, Option<u64>)>();
    (root, any::<(bool, bool)>(), paths, vec(bind, 0..3), bounds).prop_map(
        |(root, flags, paths, binds, bounds)| {
            let (root_overlay, minimal_etc) = flags;
            let (shown, hidden, private, layered) = paths;
            let (tmp_bytes, tmp_inodes) = bounds;
            View {
                root,
                root_overlay,
                shown,
                hidden,
                binds,
                minimal_etc,
                private,
                layered,
                tmp_bytes,
                tmp_inodes,
            }
        },
    )
}

fn confinement() -> impl Strategy<Value = Confinement> {
    let rlimit =
        any::<(u32, u64, u64)>().prop_map(|(resource, soft, hard)| Rlimit { resource, soft, hard });
    (any::<u64>(), many(), many(), any::<(u64, u64)>(), vec(rlimit, 0..4)).prop_map(
        |(capabilities, filters, command_filters, descriptors, rlimits)| Confinement {
            capabilities,
            filters,
            command_filters,
            descriptors,
            rlimits,
        },
    )
}
