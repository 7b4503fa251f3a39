//! The scene of every test here: a server, those who must not notice anything, and the usurper of
//! one of its templates.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getuid};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use zyg_protocol::message::{
    Acquire, Denial, FromTemplate, Lifeline, Mount, Reply, Request, ToTemplate,
};
use zyg_protocol::socket::pair;
use zyg_tests::{
    Baseline, Raw, RawLease, Server, Setup, Taken, connect_as, eventually, is_root, take_over,
    wait_readable,
};

/// Whose pool is usurped where the server is root's: a uid without a name.
const USER: u32 = 47_001;

/// Somebody else there.
pub const OTHER_USER: u32 = 47_002;

/// The profile whose template is usurped. Nothing of it is warm unless somebody has asked.
pub const USURPED: &str = "usurped";

/// Who is served by the usurped pool.
pub fn user() -> u32 {
    if is_root() { USER } else { getuid().as_raw() }
}

/// A server with a small pool for everybody and a usurped one.
pub struct Scene {
    pub server: Server,
}

impl Scene {
    pub fn new() -> Self {
        Self::with("")
    }

    /// The same with further keys of the usurped profile.
    pub fn with(keys: &str) -> Self {
        let setup = Setup::default().config(&format!(
            "[server]\nsocket_mode = \"0666\"\n\
             [profile.default.pool]\nmin = 1\nmax = 4\n\
             [profile.usurped]\npool = {{ min = 0, max = 8, learn = false }}\n{keys}"
        ));
        let server = setup.start_warm();
        // The directory is the test's own user's alone otherwise.
        fs::set_permissions(server.directory(), fs::Permissions::from_mode(0o711)).unwrap();
        Self { server }
    }

    /// Plays one act of a usurper after another, each from a fresh usurpation on. After each, those
    /// who have nothing to do with it are served as before, and whoever was pointed at lives; after
    /// all of them the server holds what it held before.
    pub fn play(self, acts: &[Act<'_>]) {
        let standins = Standins::new();
        self.wake();
        let baseline = Baseline::of(&self.server);
        let lease = baseline.observer().lease().unwrap();
        let mut bystanders = vec![Bystander::start(&lease)];
        let stranger = is_root().then(|| connect_as(OTHER_USER, self.server.socket()));
        let strangers_lease = stranger.as_ref().map(Raw::lease);
        for (name, act) in acts {
            eprintln!("act: {name}");
            let usurper = Usurper::begin(&self.server, &standins);
            act(&usurper);
            bystanders.iter_mut().for_each(Bystander::assert_unharmed);
            let other = baseline.observer().lease().unwrap();
            assert!(other.command("true").status().unwrap().success(), "{name}");
            if let Some(lease) = &strangers_lease {
                assert_runs(lease);
            }
            standins.assert_alive(name);
        }
        drop((strangers_lease, stranger));
        bystanders.clear();
        drop(lease);
        self.wake();
        baseline.assert_restored();
        drop(baseline);
        drop(self);
        standins.assert_alive("the end of the server");
    }

    /// Gives each pool its template, whatever became of the one before: each serves a client.
    fn wake(&self) {
        for uid in [user(), getuid().as_raw()] {
            let client = connect_as(uid, self.server.socket());
            assert_runs(&eventually("the usurped pool to serve again", || {
                client.say(&Request::Acquire(acquire(0)));
                answer(&client).ok()
            }));
        }
        if is_root() {
            assert_runs(&connect_as(OTHER_USER, self.server.socket()).lease());
        }
    }
}

/// What is done, and how.
pub type Act<'a> = (&'a str, &'a dyn Fn(&Usurper<'_>));

/// Processes that somebody may point at: of the usurper's own user, of the server's, of a third.
pub struct Standins {
    children: Vec<Child>,
    pub pidfds: Vec<OwnedFd>,
}

impl Standins {
    pub fn new() -> Self {
        let uids = if is_root() { vec![USER, 0, OTHER_USER] } else { vec![getuid().as_raw(); 2] };
        let start = |uid: u32| {
            let mut command = Command::new("sleep");
            command.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null());
            if is_root() {
                command.uid(uid).gid(uid);
            }
            command.spawn().unwrap()
        };
        let children: Vec<_> = uids.into_iter().map(start).collect();
        let open =
            |child: &Child| zygote::process_descriptor(Pid::from_raw(child.id() as i32)).unwrap();
        let pidfds = children.iter().map(open).collect();
        Self { children, pidfds }
    }

    fn assert_alive(&self, after: &str) {
        for pidfd in &self.pidfds {
            assert!(!is_readable(pidfd), "a stranger's process has ended: {after}");
        }
    }
}

impl Drop for Standins {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Somebody else's command, which answers each line with the same line.
struct Bystander {
    child: zygote_client::Child,
    answers: BufReader<ChildStdout>,
}

impl Bystander {
    fn start(lease: &zygote_client::Lease) -> Self {
        let mut cat = lease.command("cat");
        cat.stdin(zygote_client::Stdio::piped()).stdout(zygote_client::Stdio::piped());
        let mut child = cat.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn assert_unharmed(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"unharmed?\n").unwrap();
        wait_readable(self.answers.get_ref(), "the bystander's answer");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "unharmed?\n");
    }
}

/// Somebody who has taken over the template of [`USURPED`], which itself stands still.
pub struct Usurper<'a> {
    pub server: &'a Server,
    pub standins: &'a Standins,
    uid: u32,
    /// The template's end of its link to the server.
    pub link: Raw,
    /// A client whom the template serves.
    pub client: Raw,
    requests: Cell<u64>,
    _template: Taken,
    /// What must not hang up before the template does.
    kept: RefCell<Vec<Box<dyn Any>>>,
}

impl<'a> Usurper<'a> {
    /// Takes over the present template of the pool, as soon as it serves.
    pub fn begin(server: &'a Server, standins: &'a Standins) -> Self {
        Self::of(user(), server, standins)
    }

    /// Takes over that of the pool of this user.
    pub fn of(uid: u32, server: &'a Server, standins: &'a Standins) -> Self {
        let client = connect_as(uid, server.socket());
        // With a lease the template is one that works; what went before may have made the pool
        // wait for a moment.
        let lease = eventually("an environment of the usurped pool", || {
            client.say(&Request::Acquire(acquire(0)));
            answer(&client).ok()
        });
        let pid = template_of(server, USURPED, uid);
        let mut template = take_over(pid).unwrap();
        let mut sockets = template.sockets();
        assert!(sockets.len() <= 3, "a template has its link, and one or two to its stock");
        // It had this one from the first.
        let link = Raw::of(sockets.remove(0));
        let requests = Cell::new(1);
        let kept = RefCell::default();
        let usurper =
            Self { server, standins, uid, link, client, requests, _template: template, kept };
        usurper.keep(lease);
        usurper
    }

    /// Keeps something until after the template has ended.
    pub fn keep(&self, thing: impl Any) {
        self.kept.borrow_mut().push(Box::new(thing));
    }

    /// Says something to the server in the template's place.
    pub fn say(&self, message: &FromTemplate) {
        self.link.say(message);
    }

    /// The number of a fresh request of the client's.
    pub fn request(&self) -> u64 {
        self.requests.set(self.requests.get() + 1);
        self.requests.get()
    }

    /// The number of the latest of these.
    pub fn last_request(&self) -> u64 {
        self.requests.get()
    }

    /// The counts of the usurped pool.
    pub fn pool(&self) -> zygote_client::PoolStatus {
        let status = self.server.client().status().unwrap();
        let mut pools = status.profiles.into_iter();
        pools.find(|pool| pool.name == USURPED && pool.uid == self.uid).unwrap()
    }

    /// A slot that the server wants filled.
    pub fn ordered(&self) -> u64 {
        self.order().slot
    }

    /// A zygote that the server wants made, for a client who waits for it.
    pub fn order(&self) -> Order {
        loop {
            self.client.say(&Request::Acquire(acquire(self.request())));
            while !is_readable(&self.client) {
                if is_readable(&self.link) {
                    let (order, mut descriptors) = self.link.hear().expect("the link holds");
                    if let ToTemplate::Spawn { slot, .. } = order {
                        return Order { slot, lifeline: Raw::of(descriptors.remove(0)) };
                    }
                }
                wait_either(&self.link, &self.client);
            }
            // One that was parked before: not what is wanted.
            self.keep(answer(&self.client).unwrap());
        }
    }

    /// One for a client who has left since: what is made of it is nobody's yet.
    pub fn unwanted_order(&self) -> Order {
        let order = self.order();
        self.client.say(&Request::Cancel { request: self.last_request() });
        assert!(matches!(answer(&self.client), Err(Denial::Cancelled)));
        order
    }

    /// The next zygote that the server wants made.
    pub fn next_order(&self) -> Order {
        loop {
            let (order, mut descriptors) = self.link.hear::<ToTemplate>().expect("the link holds");
            if let ToTemplate::Spawn { slot, .. } = order {
                return Order { slot, lifeline: Raw::of(descriptors.remove(0)) };
            }
        }
    }

    /// Waits for the order to end what is in the slot.
    pub fn assert_condemned(&self, slot: u64) {
        let condemned = ToTemplate::Destroy { slot };
        while self.link.hear::<ToTemplate>().expect("the link holds").0 != condemned {}
    }

    /// A zygote that is none, reported as ready: its channel and lifeline are the usurper's, its
    /// process is a stranger's.
    pub fn bear(&self) -> Fake {
        let Order { slot, lifeline } = self.order();
        let channel = self.report(&lifeline, &self.standins.pidfds[0]);
        self.keep(channel);
        Fake { slot, lifeline }
    }

    /// Reports a zygote that is this process, ready, and returns init's end of its channel.
    pub fn report(&self, lifeline: &Raw, process: &OwnedFd) -> Raw {
        let (ours, theirs) = pair().unwrap();
        let riding = [theirs.as_fd(), process.as_fd()];
        lifeline.say_with(&Lifeline::Ready { spawn_us: 1 }, &riding);
        Raw::of(ours)
    }

    /// One of these that a client has got.
    pub fn bear_leased(&self) -> (Fake, RawLease) {
        let fake = self.bear();
        (fake, answer(&self.client).unwrap())
    }

    /// Waits until the server has hung up on the template that the usurper plays.
    pub fn assert_cast_out(&self) {
        self.link.assert_closed::<ToTemplate>();
    }

    /// What becomes of the next acquire that needs something opened.
    pub fn ask_for_bind(&self, source: &str) -> (u64, u64) {
        let request = self.request();
        let mount = Mount::Bind {
            source: source.as_bytes().to_vec().into(),
            target: b"/mnt".to_vec().into(),
            read_only: false,
        };
        self.client.say(&Request::Acquire(Acquire { mounts: vec![mount], ..acquire(request) }));
        loop {
            match self.link.hear::<ToTemplate>().expect("the link holds").0 {
                ToTemplate::Open { ticket, .. } => return (request, ticket),
                _ => continue,
            }
        }
    }
}

/// An order, and init's end of the lifeline of whoever fills it.
pub struct Order {
    pub slot: u64,
    pub lifeline: Raw,
}

/// A zygote that is none.
pub struct Fake {
    pub slot: u64,
    /// Init's end of it.
    pub lifeline: Raw,
}

/// An acquire from the usurped pool.
pub fn acquire(request: u64) -> Acquire {
    Acquire { request, profile: Some(USURPED.to_owned()), ..Acquire::default() }
}

/// The next answer to an acquire.
pub fn answer(client: &Raw) -> Result<RawLease, Denial> {
    let (reply, descriptors) = client.hear().expect("the server is there");
    match reply {
        Reply::Granted(granted) => {
            let mut descriptors = descriptors.into_iter();
            let init = Raw::of(descriptors.next().unwrap());
            let pidfd = descriptors.next().unwrap();
            Ok(RawLease { init, pidfd, granted, trees: descriptors.collect() })
        }
        Reply::Denied { denial, .. } => Err(denial),
        other => panic!("{other:?}"),
    }
}

/// Runs one good command to its end.
pub fn assert_runs(lease: &RawLease) {
    use zyg_protocol::message::{Exec, ExitStatus, FromInit, Strings, ToInit};
    let argv = Strings::from_iter(["true"]);
    let env = Strings::from_iter(["PATH=/usr/bin:/bin"]);
    let program = b"true".to_vec().into();
    let exec = Exec { command: 7, program, argv, env, ..Exec::default() };
    lease.init.tell(&ToInit::Exec(exec));
    loop {
        match lease.init.from_init().expect("the lease goes on") {
            FromInit::Exited { status, .. } => return assert_eq!(status, ExitStatus::Code(0)),
            FromInit::Failed { failure, .. } => panic!("{failure}"),
            _ => {}
        }
    }
}

/// The template that was started last for this profile and uid.
pub fn template_of(server: &Server, profile: &str, uid: u32) -> Pid {
    let log = server.log();
    let end = format!(" starts for profile {profile} and uid {uid}");
    let line = log.lines().rev().find_map(|line| line.strip_suffix(&end)).unwrap();
    Pid::from_raw(line.rsplit_once("template ").unwrap().1.parse().unwrap())
}

/// Whether there is something to read, or the end.
pub fn is_readable(descriptor: impl AsFd) -> bool {
    let mut fds = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
}

fn wait_either(one: impl AsFd, other: impl AsFd) {
    let mut fds = [one.as_fd(), other.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let timeout = PollTimeout::try_from(zyg_tests::PATIENCE).unwrap();
    assert!(poll(&mut fds, timeout).unwrap() > 0, "neither an order nor an answer");
}
