//! One message for every variant of every enum that travels, named after it.

use std::fmt::Debug;
use zyg_protocol::codec::{DecodeError, Message, decode, encode};
use zyg_protocol::message::{
    Acquire, Attach, Authority, Bytes, ColdReason, Confinement, Denial, Exec, ExitStatus, Failure,
    Fate, Fates, FromInit, FromTemplate, Granted, LeaseId, Lifeline, Mount, Network, PoolStatus,
    Prepare, Recipe, Recycle, Refusal, Reply, Request, Rlimit, Root, Scope, Served, Slices, Start,
    Status, Step, Strings, ToInit, ToTemplate, ToZygote, Tree, TtySize, Usage, View, ViewBind,
};

/// A message whose type is forgotten.
pub struct Sample {
    /// `Enum::Variant`, or `Struct`, with `.empty` for one whose fields are all empty.
    pub name: String,
    /// It, encoded.
    pub bytes: Vec<u8>,
    /// It, as `Debug` shows it.
    pub shown: String,
    /// [`judge`] for its type.
    pub judge: Judge,
}

/// What [`judge`] is for one type of message.
pub type Judge = fn(&[u8]) -> Result<(), DecodeError>;

/// Decodes bytes that anybody may have written. What is accepted must survive another round.
pub fn judge<M: Message + PartialEq + Debug>(bytes: &[u8]) -> Result<(), DecodeError> {
    let message: M = decode(bytes)?;
    let mut again = Vec::new();
    encode(&message, &mut again).expect("what was decoded within the bound fits in it");
    assert_eq!(decode::<M>(&again).as_ref(), Ok(&message), "from {bytes:x?}");
    Ok(())
}

/// [`judge`] for every type of message, under the type's name.
pub const JUDGES: [(&str, Judge); 9] = [
    ("Request", judge::<Request>),
    ("Reply", judge::<Reply>),
    ("ToInit", judge::<ToInit>),
    ("FromInit", judge::<FromInit>),
    ("ToTemplate", judge::<ToTemplate>),
    ("FromTemplate", judge::<FromTemplate>),
    ("Lifeline", judge::<Lifeline>),
    ("ToZygote", judge::<ToZygote>),
    ("Exec", judge::<Exec>),
];

struct Samples(Vec<Sample>);

impl Samples {
    fn add<M: Message + PartialEq + Debug>(&mut self, name: impl Into<String>, message: M) {
        let (name, mut bytes) = (name.into(), Vec::new());
        encode(&message, &mut bytes).expect("samples are small");
        assert_eq!(decode::<M>(&bytes).as_ref(), Ok(&message), "{name}");
        self.0.push(Sample { name, bytes, shown: format!("{message:?}"), judge: judge::<M> });
    }
}

/// All of them.
pub fn all() -> Vec<Sample> {
    let mut samples = Samples(Vec::new());
    requests(&mut samples);
    replies(&mut samples);
    denials(&mut samples);
    refusals(&mut samples);
    to_init(&mut samples);
    from_init(&mut samples);
    steps(&mut samples);
    templates(&mut samples);
    lifelines(&mut samples);
    samples.0
}

fn bytes(content: &[u8]) -> Bytes {
    Bytes::from(content.to_vec())
}

fn failure() -> Failure {
    Failure { step: Step::Execute, errno: 2, subject: bytes(b"/bin/no\xff") }
}

fn requests(samples: &mut Samples) {
    let acquire = Acquire {
        request: 7,
        profile: Some("strict".into()),
        wait_ms: Some(30_000),
        time_ms: Some(u64::MAX),
        label: "tests::a_label".into(),
        cwd: Some(bytes(b"/home/u")),
        program: Some(bytes(b"/tmp/go-build1/b001/x.test")),
        mounts: vec![Mount::Tmpfs { target: bytes(b"/scratch") }],
    };
    let bind = Mount::Bind { source: bytes(b"/src"), target: bytes(b"/dst\xfe"), read_only: true };
    let tmpfs = Mount::Tmpfs { target: bytes(b"/scratch") };
    samples.add("Request::Acquire", Request::Acquire(acquire));
    samples.add("Request::Acquire.empty", Request::Acquire(Acquire::default()));
    for (name, mount) in [("Mount::Bind", bind), ("Mount::Tmpfs", tmpfs)] {
        let acquire = Acquire { mounts: vec![mount], ..Acquire::default() };
        samples.add(name, Request::Acquire(acquire));
    }
    samples.add("Request::Cancel", Request::Cancel { request: 250 });
    samples.add("Request::Release", Request::Release { lease: LeaseId(251) });
    samples.add("Request::Status", Request::Status { request: 1 << 40 });
    let acquire = Acquire { request: 7, ..Acquire::default() };
    samples.add("Request::AcquireMany", Request::AcquireMany { acquire, count: 4096 });
    let profile = Some("strict".into());
    let reserve = Request::Reserve { request: 10, profile, count: 16, ttl_ms: 600_000 };
    samples.add("Request::Reserve", reserve);
    samples.add("Request::Drain", Request::Drain { request: 11, timeout_ms: Some(30_000) });
}

fn replies(samples: &mut Samples) {
    let granted = |start, attach: Vec<Attach>| {
        let start_in = attach.is_empty().then(|| bytes(b"/home/user"));
        Reply::Granted(Granted {
            request: 7,
            lease: LeaseId(9),
            start,
            waited_us: 65_536,
            time_ms: attach.is_empty().then_some(600_000),
            start_in,
            attach,
        })
    };
    let target = || bytes(b"/home/u");
    let tree = Attach::Tree { target: target() };
    let layer = Attach::Layer { target: target() };
    let cover = Attach::Cover { target: target() };
    let tmpfs = Attach::Tmpfs { target: target() };
    let all = vec![tree.clone(), layer.clone(), cover.clone(), tmpfs.clone()];
    samples.add("Reply::Granted", granted(Start::Warm, all));
    samples.add("Attach::Tree", granted(Start::Warm, vec![tree]));
    samples.add("Attach::Layer", granted(Start::Warm, vec![layer]));
    samples.add("Attach::Cover", granted(Start::Warm, vec![cover]));
    samples.add("Attach::Tmpfs", granted(Start::Warm, vec![tmpfs]));
    samples.add("Start::Warm", granted(Start::Warm, vec![]));
    samples.add("Start::Cold", granted(Start::Cold(ColdReason::Exhausted), vec![]));
    samples.add("ColdReason::FirstUse", granted(Start::Cold(ColdReason::FirstUse), vec![]));
    samples.add("ColdReason::Exhausted", granted(Start::Cold(ColdReason::Exhausted), vec![]));
    samples.add("Reply::Denied", Reply::Denied { request: 8, denial: Denial::Cancelled });
    let pool = PoolStatus {
        name: "default".into(),
        uid: 1000,
        warm: 4,
        leased: 3,
        spawning: 2,
        dying: 1,
        waiters: 300,
        quarantined: 6,
        target: 8,
        reserved: 7,
        generation: 2,
        retired: true,
        served: Served { warm: 70_000, cold: 5 },
        fates: Fates::from_iter([(Fate::NetworkRecycled, 60_000), (Fate::NetworkWithTraffic, 9)]),
        failing: Some("no user namespaces".into()),
    };
    let profiles = vec![pool, PoolStatus::default()];
    let status = Status { pid: 4242, uptime_ms: 86_400_000, sessions: 10_000, profiles };
    samples.add("Reply::Status", Reply::Status { request: 9, status });
    let empty = Reply::Status { request: 0, status: Status::default() };
    samples.add("Reply::Status.empty", empty);
    samples.add("Reply::Refused", Reply::Refused(Refusal::TooManySessions { limit: 1 }));
    samples.add("Reply::Reserved", Reply::Reserved { request: 10, floor: 16 });
    samples.add("Reply::Drained", Reply::Drained { request: 11, ended: 2, stuck: 1 });
}

fn denials(samples: &mut Samples) {
    let reason = || "because".to_owned();
    let known = vec!["default".into(), "strict".into()];
    let denials = [
        ("NoSuchProfile", Denial::NoSuchProfile { asked: "defualt".into(), known }),
        ("BadRequest", Denial::BadRequest { reason: reason() }),
        ("NotServed", Denial::NotServed { uid: 0, serves: 1000 }),
        ("NotAllowed", Denial::NotAllowed { profile: "strict".into(), uid: 1000 }),
        ("QuotaExceeded", Denial::QuotaExceeded { what: "leases".into(), limit: 4 }),
        ("QueueFull", Denial::QueueFull { waiters: 4096 }),
        ("DeadlineExpired", Denial::DeadlineExpired { wait_ms: 30_000 }),
        ("Cancelled", Denial::Cancelled),
        ("Draining", Denial::Draining),
        ("BuildFailing", Denial::BuildFailing { reason: reason() }),
        ("MountRefused", Denial::MountRefused { path: "/root/secret".into(), reason: reason() }),
        ("NotYours", Denial::NotYours { uid: 1000, serves: 0 }),
    ];
    for (name, denial) in denials {
        samples.add(format!("Denial::{name}"), Reply::Denied { request: 8, denial });
    }
}

fn refusals(samples: &mut Samples) {
    let refusals = [
        ("TooManySessions", Refusal::TooManySessions { limit: 10_000 }),
        ("NotServed", Refusal::NotServed { uid: 1001, serves: 1000 }),
        ("WrongVersion", Refusal::WrongVersion { got: 2, want: 1 }),
        ("Malformed", Refusal::Malformed { reason: "surplus bytes".into() }),
    ];
    for (name, refusal) in refusals {
        samples.add(format!("Refusal::{name}"), Reply::Refused(refusal));
    }
}

fn exec() -> Exec {
    Exec {
        command: 3,
        program: bytes(b"cat"),
        argv: Strings::from_iter([&b"cat"[..], b"", b"caf\xe9"]),
        env: Strings::from_iter(["PATH=/bin", "odd"]),
        cwd: Some(bytes(b"/tmp")),
        descriptors: vec![0, 1, 2, 1023, -1],
        tty: Some(TtySize { rows: 24, columns: 300 }),
        rlimits: vec![Rlimit { resource: 7, soft: 1024, hard: u64::MAX }],
        umask: Some(0o077),
        nice: -5,
        cpus: bytes(&[0b1010, 0, 1]),
        sweep: true,
        quiet: true,
    }
}

fn to_init(samples: &mut Samples) {
    let prepare = Prepare {
        attach: vec![Attach::Layer { target: bytes(b"/home/u") }],
        hostname: Some("box".into()),
    };
    samples.add("ToInit::Prepare", ToInit::Prepare(prepare));
    samples.add("ToInit::Prepare.empty", ToInit::Prepare(Prepare::default()));
    samples.add("ToInit::Exec", ToInit::Exec(exec()));
    samples.add("ToInit::Exec.empty", ToInit::Exec(Exec::default()));
    samples.add("ToInit::ExecStored", ToInit::ExecStored { command: u32::MAX });
    let signal = |scope| ToInit::Signal { command: 3, signal: 15, scope };
    samples.add("ToInit::Signal", signal(Scope::Process));
    samples.add("Scope::Process", signal(Scope::Process));
    samples.add("Scope::Group", signal(Scope::Group));
    samples.add("Exec", exec());
    samples.add("Exec.empty", Exec::default());
}

fn from_init(samples: &mut Samples) {
    let usage = Usage { user_us: 1_000, system_us: 250, wall_us: 1 << 33, max_rss_kib: 65_535 };
    let exited = |status| FromInit::Exited { command: 3, status, usage };
    let signal = ExitStatus::Signal { signal: 11, core_dumped: true };
    let read_only = vec![bytes(b"/"), bytes(b"/home/u")];
    samples.add("FromInit::Prepared", FromInit::Prepared { read_only });
    samples.add("FromInit::PrepareFailed", FromInit::PrepareFailed(failure()));
    samples.add("FromInit::Started", FromInit::Started { command: 3, pid: 2 });
    samples.add("FromInit::Failed", FromInit::Failed { command: 3, failure: failure() });
    samples.add("FromInit::Exited", exited(ExitStatus::Code(0)));
    samples.add("ExitStatus::Code", exited(ExitStatus::Code(255)));
    samples.add("ExitStatus::Signal", exited(signal));
}

fn steps(samples: &mut Samples) {
    let steps = [
        Step::BecomeUser,
        Step::UserNamespace,
        Step::IdMaps,
        Step::MountNamespace,
        Step::PrivateTree,
        Step::Root,
        Step::HostDirectory,
        Step::Dev,
        Step::Sys,
        Step::Proc,
        Step::EnterRoot,
        Step::NetNamespace,
        Step::Loopback,
        Step::Clone,
        Step::Sockets,
        Step::Scratch,
        Step::Home,
        Step::Devpts,
        Step::DropPrivileges,
        Step::Events,
        Step::Hostname,
        Step::OpenTree,
        Step::MountPoint,
        Step::AttachMount,
        Step::Layer,
        Step::ReadRequest,
        Step::Tty,
        Step::Descriptors,
        Step::Rlimits,
        Step::Chdir,
        Step::Fork,
        Step::Execute,
        Step::Interpreter,
        Step::Filter,
    ];
    for step in steps {
        let failure = Failure { step, errno: -1, subject: Bytes::new() };
        samples.add(format!("Step::{step:?}"), Lifeline::Unable(failure));
    }
}

fn templates(samples: &mut Samples) {
    let recipe = Recipe {
        authority: Authority {
            uid: 1000,
            gid: 100,
            user: Some("u".into()),
            inside: Some((0, 1)),
            slices: Some(Slices { first_uid: 100_000, first_gid: 200_000, count: 64 }),
        },
        view: View {
            root: Root::Directory(bytes(b"/srv/tree")),
            root_overlay: true,
            shown: vec![bytes(b"/lib*")],
            hidden: vec![bytes(b"/home")],
            binds: vec![ViewBind { source: bytes(b"/a"), target: bytes(b"/b"), read_only: true }],
            minimal_etc: true,
            private: vec![bytes(b"/tmp"), bytes(b"/run")],
            layered: vec![bytes(b"/home/u")],
            tmp_bytes: Some(1 << 30),
            tmp_inodes: Some(4096),
        },
        network: Network::Own,
        recycle: Recycle::Parts,
        confinement: Confinement {
            capabilities: 1 << 10,
            filters: vec![bytes(&[6, 0, 0, 0, 0, 0, 255, 127])],
            command_filters: vec![bytes(&[])],
            descriptors: (1024, 524_288),
            rlimits: vec![Rlimit { resource: 7, soft: 256, hard: 512 }],
        },
        hostname: Some("zyg".into()),
        env: vec![bytes(b"A=1")],
    };
    for (name, network) in
        [("Loopback", Network::Loopback), ("Own", Network::Own), ("Host", Network::Host)]
    {
        let recipe = Recipe { network, ..Recipe::default() };
        samples.add(format!("Network::{name}"), ToTemplate::Build(Box::new(recipe)));
    }
    for (name, recycle) in
        [("None", Recycle::None), ("Parts", Recycle::Parts), ("Whole", Recycle::Whole)]
    {
        let recipe = Recipe { recycle, ..Recipe::default() };
        samples.add(format!("Recycle::{name}"), ToTemplate::Build(Box::new(recipe)));
    }
    for (name, root) in
        [("Host", Root::Host), ("Empty", Root::Empty), ("Directory", Root::Directory(bytes(b"/t")))]
    {
        let view = View { root, ..View::default() };
        samples.add(
            format!("Root::{name}"),
            ToTemplate::Build(Box::new(Recipe { view, ..Recipe::default() })),
        );
    }
    let trees = vec![Tree { path: bytes(b"/src"), read_only: true }];
    samples.add("ToTemplate::Build", ToTemplate::Build(Box::new(recipe)));
    samples.add("ToTemplate::Build.empty", ToTemplate::Build(Box::default()));
    samples.add("ToTemplate::Spawn", ToTemplate::Spawn { slot: 1, urgent: true });
    samples.add("ToTemplate::Destroy", ToTemplate::Destroy { slot: 2 });
    samples.add("ToTemplate::Open", ToTemplate::Open { ticket: 3, trees });
    samples.add("ToTemplate::Rename", ToTemplate::Rename { slot: 4, next: 5 });
    samples.add("ToTemplate::Inspect", ToTemplate::Inspect { slot: 5 });
    let read_only = vec![bytes(b"/home/u")];
    samples.add("FromTemplate::Ready", FromTemplate::Ready { build_us: 12_345, read_only });
    samples.add("FromTemplate::Unable", FromTemplate::Unable(failure()));
    let failed = FromTemplate::SpawnFailed { slot: 1, failure: failure() };
    samples.add("FromTemplate::SpawnFailed", failed);
    samples.add("FromTemplate::Gone", FromTemplate::Gone { slot: 2 });
    samples.add("FromTemplate::Opened", FromTemplate::Opened { ticket: 3 });
    let failed = FromTemplate::OpenFailed { ticket: 3, failure: failure() };
    samples.add("FromTemplate::OpenFailed", failed);
    samples.add("FromTemplate::Inspected", FromTemplate::Inspected { slot: 5 });
    samples.add("FromTemplate::InDoubt", FromTemplate::InDoubt { slot: 5 });
    let fates = Fate::ALL.into_iter().zip(1..).collect();
    samples.add("FromTemplate::Became", FromTemplate::Became(fates));
    for fate in Fate::ALL {
        let became = FromTemplate::Became(Fates::from_iter([(fate, 300)]));
        samples.add(format!("Fate::{fate:?}"), became);
    }
}

fn lifelines(samples: &mut Samples) {
    samples.add("Lifeline::Ready", Lifeline::Ready { spawn_us: 400 });
    samples.add("Lifeline::Unable", Lifeline::Unable(failure()));
    samples.add("Lifeline::Renewed", Lifeline::Renewed { renew_us: 300 });
    samples.add("ToZygote::Renew", ToZygote::Renew);
}
