//! Who plays server and init.

use super::*;

/// The far end of a session or a channel.
pub struct Peer(pub OwnedFd);

impl Peer {
    pub fn hear<M: Message>(&self) -> Option<(M, Vec<OwnedFd>)> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let received = socket::receive(self.0.as_fd(), &mut buffer).unwrap();
        if received.bytes == 0 {
            return None;
        }
        Some((decode(&buffer[..received.bytes]).unwrap(), received.descriptors))
    }

    pub fn say<M: Message>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) {
        let mut buffer = Vec::new();
        encode(message, &mut buffer).unwrap();
        socket::send(self.0.as_fd(), &buffer, descriptors).unwrap();
    }

    pub fn hear_acquire(&self) -> Acquire {
        match self.hear() {
            Some((Request::Acquire(acquire), _)) => acquire,
            other => panic!("an acquire was to come, not {other:?}"),
        }
    }

    pub fn hear_many(&self) -> (Acquire, u32) {
        match self.hear() {
            Some((Request::AcquireMany { acquire, count }, _)) => (acquire, count),
            other => panic!("an acquire of many was to come, not {other:?}"),
        }
    }

    pub fn deny(&self, request: RequestId, denial: Denial) {
        self.say(&Reply::Denied { request, denial }, &[]);
    }

    /// Everything that comes until the other side hangs up.
    pub fn hear_all(&self) -> Vec<Request> {
        std::iter::from_fn(|| self.hear()).map(|(request, _)| request).collect()
    }

    /// Grants the next acquire.
    pub fn grant(&self, attach: Vec<Attach>) -> Granting {
        let acquire = self.hear_acquire();
        let (init, alive) = self.grant_as(acquire.request, LeaseId(7), attach);
        Granting { acquire, init, alive }
    }

    /// Grants the acquire of this number: init's end of the channel, and what keeps the lease's pidfd
    /// from being readable.
    pub fn grant_as(
        &self,
        request: RequestId,
        lease: LeaseId,
        attach: Vec<Attach>,
    ) -> (Self, OwnedFd) {
        let (channel, init) = socket::pair().unwrap();
        let (pidfd, alive) = socket::pair().unwrap();
        let trees = attach.iter().filter(|attach| attach.has_tree()).count();
        let mut descriptors = vec![channel.as_fd(), pidfd.as_fd()];
        let tree = File::open("/dev/null").unwrap();
        descriptors.resize(2 + trees, tree.as_fd());
        let granted = Granted {
            request,
            lease,
            start: Start::Cold(ColdReason::FirstUse),
            waited_us: 250,
            time_ms: None,
            start_in: None,
            attach,
        };
        self.say(&Reply::Granted(granted), &descriptors);
        (Self(init), alive)
    }

    pub fn hear_exec(&self) -> (Exec, Vec<OwnedFd>) {
        match self.hear() {
            Some((ToInit::Exec(exec), descriptors)) => (exec, descriptors),
            other => panic!("an exec was to come, not {other:?}"),
        }
    }

    pub fn start(&self, exec: &Exec) {
        self.say(&FromInit::Started { command: exec.command, pid: 2 }, &[]);
    }

    pub fn exit(&self, command: CommandId, code: u8) {
        let usage = Usage { wall_us: 42, ..Usage::default() };
        self.say(&FromInit::Exited { command, status: ExitStatus::Code(code), usage }, &[]);
    }

    /// Runs the next command as a program would that exits at once.
    pub fn run(&self, code: u8) -> Exec {
        let (exec, _) = self.hear_exec();
        self.start(&exec);
        self.exit(exec.command, code);
        exec
    }
}

pub struct Granting {
    pub acquire: Acquire,
    pub init: Peer,
    /// Closing it makes the lease's pidfd readable.
    pub alive: OwnedFd,
}

pub fn play<'scope, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    script: impl FnOnce(Peer) -> T + Send + 'scope,
) -> (Client, ScopedJoinHandle<'scope, T>) {
    let (ours, theirs) = socket::pair().unwrap();
    let client = Client::new(Connected { socket: ours, log: None }, None);
    (client, scope.spawn(move || script(Peer(theirs))))
}

pub fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
