//! One hostile session: what it says, and whether it is answered as it must be.
//!
//! As long as a session has said nothing but sound requests it is judged strictly: each question
//! is answered once, by what fits it, and the session is not closed unless it does not read. What
//! it says after the first message that is none is still counted, but not held against the server.

use crate::descriptors;
use crate::flood::{Party, Turn, World};
use crate::link::{Heard, Link, Said};
use crate::mutate::{Mutation, mutate};
use crate::questions::{Question, Questions, name, number};
use crate::random::Random;
use crate::requests::{Expect, Known, request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use zyg_protocol::codec::{Kind, decode};
use zyg_protocol::message::{Granted, LeaseId, Reply, Request, RequestId};
use zyg_tests::{Raw, bytes_of};

/// Unanswered questions of a session that reads; the server keeps 256 answers for one that does not.
const UNANSWERED_MAX: usize = 120;

/// Messages said in one turn, at most.
const BURST: usize = 40;

/// The number of the question by which a session finds out whether it is still heard: no other
/// request has it.
const PROBE: RequestId = 0x5e55_1011;

/// Descriptors on their way at once. The kernel counts them for each user (`ETOOMANYREFS`, unix(7)),
/// and other tests send some as well.
const FLYING_MAX: usize = 300;

/// A lease in hand.
#[derive(Debug)]
struct Held {
    id: LeaseId,
    pidfd: OwnedFd,
    /// Whether it lasts until this session ends it.
    lasting: bool,
    _channel: OwnedFd,
    _trees: Vec<OwnedFd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Talking,
    /// Has said something that may cost it the session, and waits for what comes of it.
    Doubtful,
    /// Waits for its last answers.
    Leaving,
}

#[derive(Debug)]
struct Packet {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    questions: Vec<Question>,
    mutation: Option<Mutation>,
    released: Option<LeaseId>,
}

impl Packet {
    fn sound(request: &Request, expect: Expect) -> Self {
        let (ids, lasting) = match request {
            Request::Acquire(acquire) => (vec![acquire.request], acquire.time_ms.is_none()),
            // Whoever asks for too many, or for none, is answered once.
            Request::AcquireMany { acquire, .. } if expect == Expect::Bad => {
                (vec![acquire.request], false)
            }
            Request::AcquireMany { acquire, count } => {
                let numbers = (0..u64::from(*count)).map(|nth| acquire.request.wrapping_add(nth));
                (numbers.collect(), acquire.time_ms.is_none())
            }
            Request::Status { request }
            | Request::Reserve { request, .. }
            | Request::Drain { request, .. } => (vec![*request], false),
            Request::Cancel { .. } | Request::Release { .. } => (Vec::new(), false),
        };
        let asked = ids.into_iter().filter(|_| expect != Expect::Silence);
        let question = |id| Question { place: 0, id, expect, lasting, due: false };
        let questions = asked.map(question).collect();
        let released = if let Request::Release { lease } = request { Some(*lease) } else { None };
        let bytes = bytes_of(request);
        Self { bytes, descriptors: Vec::new(), questions, mutation: None, released }
    }

    fn probe() -> Self {
        Self::sound(&Request::Status { request: PROBE }, Expect::Status)
    }
}

#[derive(Debug)]
pub struct Session {
    link: Link,
    random: Random,
    state: State,
    /// Never reads.
    deaf: bool,
    /// Nothing but sound requests were said.
    sound: bool,
    said: u64,
    judged: u64,
    questions: Questions,
    leases: Vec<Held>,
    /// Leases that were given back, by a guess at their number, while none of them was known to be
    /// its own: the grant of one may have been on its way.
    guessed: HashSet<LeaseId>,
    unsent: VecDeque<Packet>,
    /// Messages until it leaves.
    life: usize,
    /// Descriptors that it has sent and the server may not have taken yet.
    flying: usize,
    /// The first message of those not judged yet that is none.
    doubt: Option<u64>,
}

impl Party for Session {
    fn begin(world: &mut World<'_>, mut random: Random) -> Self {
        world.tally.begun += 1;
        let raw = Raw::connect(world.socket);
        let deaf = random.one_in(world.mix.deaf_one_in);
        let life = 1 + random.below(if deaf { 2000 } else { world.mix.life });
        Self {
            link: Link::over(raw.duplicate()),
            random,
            state: State::Talking,
            deaf,
            sound: true,
            said: 0,
            judged: 0,
            questions: Questions::default(),
            leases: Vec::new(),
            guessed: HashSet::new(),
            unsent: VecDeque::new(),
            life,
            flying: 0,
            doubt: None,
        }
    }

    fn hear(&mut self, world: &mut World<'_>) -> Turn {
        let mut turn = Turn::Still;
        loop {
            let heard = self.link.hear(&mut world.buffer);
            match heard {
                Heard::Message(reply, descriptors) => {
                    turn = Turn::Moved;
                    self.take(reply, descriptors, world);
                }
                Heard::Nothing => break,
                Heard::End => {
                    self.over(world);
                    return Turn::Over;
                }
            }
        }
        if self.state == State::Leaving && self.unsent.is_empty() && self.questions.0.is_empty() {
            world.tally.count("left in good order");
            return Turn::Over;
        }
        turn
    }

    fn speak(&mut self, world: &mut World<'_>) -> Turn {
        let mut moved = Turn::Still;
        for _ in 0..=self.random.below(BURST) {
            if self.unsent.is_empty() {
                if self.state != State::Talking {
                    return moved;
                }
                if self.life == 0 {
                    if self.hangs_up(world) {
                        return Turn::Over;
                    }
                    continue;
                }
                if !self.deaf && self.questions.0.len() >= UNANSWERED_MAX {
                    return moved;
                }
                self.life -= 1;
                self.prepare(world);
            }
            let Some(packet) = self.unsent.pop_front() else { return moved };
            match self.link.say(&packet.bytes, &packet.descriptors) {
                Said::Sent => {
                    self.note(packet, world);
                    moved = Turn::Moved;
                }
                Said::Full => {
                    self.unsent.push_front(packet);
                    return moved;
                }
                Said::TooManyInFlight => world.tally.count("too many descriptors in flight"),
                Said::Gone => return self.end(world),
            }
        }
        moved
    }

    fn retire(&mut self) {
        self.life = 0;
    }

    fn link(&self) -> &Link {
        &self.link
    }

    fn is_deaf(&self) -> bool {
        self.deaf
    }

    fn has_unsaid(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn flying(&self) -> usize {
        self.flying
    }
}

impl Session {
    /// Leaves: at once, whatever is under way, or after all is answered.
    fn hangs_up(&mut self, world: &mut World<'_>) -> bool {
        if self.deaf || !self.sound || self.random.one_in(3) {
            world.tally.count("hung up in the middle");
            return true;
        }
        self.state = State::Leaving;
        let waiting: Vec<_> = self.questions.waiting();
        for request in waiting {
            self.unsent.push_back(Packet::sound(&Request::Cancel { request }, Expect::Silence));
        }
        self.unsent.push_back(Packet::probe());
        false
    }

    /// Makes the next message, spoils it now and then, and puts it where it is sent from.
    fn prepare(&mut self, world: &mut World<'_>) {
        let own: Vec<_> = self.leases.iter().map(|held| held.id).collect();
        let waiting = self.questions.waiting();
        let known =
            Known { own: &own, all: &world.leases, waiting: &waiting, directory: world.directory };
        let (request, expect) = request(&known, &mut self.random);
        let mut packet = Packet::sound(&request, expect);
        if !self.deaf && self.random.one_in(world.mix.mutate_one_in) {
            let mut spoilt = packet.bytes.clone();
            let mutation = mutate(&mut spoilt, Kind::Request as u16, &mut self.random);
            // What would end the server is not to be said by accident.
            if !matches!(decode(&spoilt), Ok(Request::Drain { .. })) {
                (packet.bytes, packet.mutation) = (spoilt, Some(mutation));
            }
        } else if !self.deaf && self.random.one_in(world.mix.descriptors_one_in) {
            self.load(&mut packet, world);
        }
        let spoilt = packet.mutation.is_some();
        if spoilt {
            (packet.questions, packet.released) = (Vec::new(), None);
        }
        if let Some(lease) = packet.released {
            self.assert_lasts(lease);
        }
        self.unsent.push_back(packet);
        if spoilt {
            // Sometimes much more is said behind it, which nobody may ever read.
            if self.random.one_in(8) {
                let more = Packet::sound(&Request::Status { request: 1 }, Expect::Silence);
                self.unsent.push_back(more);
            }
            self.unsent.push_back(Packet::probe());
        }
    }

    /// Adds descriptors, unless too many are on their way.
    fn load(&mut self, packet: &mut Packet, world: &mut World<'_>) {
        let count = *self.random.pick(&[1, 1, 1, 2, 3, 10, 64, 65, 253]);
        if world.flying + count > FLYING_MAX {
            return;
        }
        for _ in 0..count {
            packet.descriptors.push(descriptors::some(&mut self.random, self.link.as_fd()));
        }
        if self.random.one_in(8) {
            packet.bytes.clear();
        }
        packet.mutation = Some(Mutation::Descriptors);
    }

    fn note(&mut self, packet: Packet, world: &mut World<'_>) {
        self.said += 1;
        world.tally.sent += 1;
        if let Some(mutation) = packet.mutation {
            world.tally.count(mutation.name());
            world.remember(mutation, &packet.bytes);
            self.state = State::Doubtful;
            self.sound = false;
            self.doubt.get_or_insert(self.said);
            self.flying += packet.descriptors.len();
            world.flying += packet.descriptors.len();
        }
        for question in packet.questions {
            let due = self.sound && !self.deaf;
            world.tally.asked += u64::from(due);
            self.questions.0.push_back(Question { place: self.said, due, ..question });
        }
        if let Some(lease) = packet.released {
            let held = self.leases.len();
            self.leases.retain(|held| held.id != lease);
            if self.leases.len() == held {
                self.guessed.insert(lease);
            }
        }
    }

    /// A lease that is to be given back has not ended before: what others said about it did nothing.
    fn assert_lasts(&self, lease: LeaseId) {
        let held = self.leases.iter().find(|held| held.id == lease);
        let Some(held) = held.filter(|held| held.lasting && self.sound) else { return };
        let mut polled = [PollFd::new(held.pidfd.as_fd(), PollFlags::POLLIN)];
        let ended = poll(&mut polled, PollTimeout::ZERO).unwrap() > 0;
        assert!(!ended, "lease {lease:?} ended, and nobody who may end it has");
    }

    /// The server has closed: what it said before is heard.
    fn end(&mut self, world: &mut World<'_>) -> Turn {
        while let Heard::Message(reply, descriptors) = self.link.hear(&mut world.buffer) {
            self.take(reply, descriptors, world);
        }
        self.over(world);
        Turn::Over
    }

    fn over(&mut self, world: &mut World<'_>) {
        if let Some(doubt) = self.doubt {
            // What it was closed for was read.
            self.judged_up_to(doubt, world);
        }
        world.tally.count(if self.deaf { "closed while deaf" } else { "closed" });
        let blameless = self.sound && !self.deaf;
        let first = self.questions.0.front();
        assert!(!blameless, "closed, and said only sound requests: {first:?} of {self:?}");
    }

    fn judged_up_to(&mut self, place: u64, world: &mut World<'_>) {
        world.tally.judged += place.saturating_sub(self.judged);
        self.judged = self.judged.max(place);
    }

    fn take(&mut self, reply: Reply, descriptors: Vec<OwnedFd>, world: &mut World<'_>) {
        world.tally.count(name(&reply));
        let Some(id) = number(&reply) else {
            return assert!(!self.sound, "of a session that said only sound requests: {reply:?}");
        };
        let Some(at) = self.questions.answered_by(id, &reply) else {
            assert!(!self.sound, "nobody asked for {reply:?}: {self:?}");
            return;
        };
        let Some(question) = self.questions.0.remove(at) else { return };
        // What comes of a message that is none may look like an answer to a later one.
        if id == PROBE || self.doubt.is_none_or(|doubt| question.place < doubt) {
            self.judged_up_to(question.place, world);
        }
        world.tally.answered += u64::from(question.due);
        if id == PROBE && self.state == State::Leaving {
            assert!(self.questions.0.is_empty(), "never answered: {:?}", self.questions);
        }
        if id == PROBE && self.state == State::Doubtful {
            // By accident it was a message, and one that costs nothing.
            world.tally.count("survived a mutation");
            self.state = State::Talking;
            self.doubt = None;
            world.flying -= std::mem::take(&mut self.flying);
        }
        if let Reply::Granted(granted) = reply {
            self.granted(granted, descriptors, question.lasting, world);
        }
    }

    fn granted(
        &mut self,
        granted: Granted,
        descriptors: Vec<OwnedFd>,
        lasting: bool,
        world: &mut World<'_>,
    ) {
        let trees = granted.attach.iter().filter(|attach| attach.has_tree()).count();
        assert_eq!(descriptors.len(), 2 + trees, "channel, pidfd and trees: {granted:?}");
        let mut descriptors = descriptors.into_iter();
        let (channel, pidfd) = (descriptors.next().unwrap(), descriptors.next().unwrap());
        world.granted(granted.lease);
        let guessed = self.guessed.contains(&granted.lease);
        self.leases.push(Held {
            id: granted.lease,
            pidfd,
            lasting: lasting && !guessed,
            _channel: channel,
            _trees: descriptors.collect(),
        });
    }
}
