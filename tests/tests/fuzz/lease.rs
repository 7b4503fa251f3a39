//! One hostile conversation with the init of a lease: what it says, and whether it is answered as it
//! must be.
//!
//! An init answers in order. As long as nothing but sound messages were said each answer must fit
//! the question that is next, each command that was started must end once, and the lease must go on.

use crate::commands::{self, Expect, PROBE, Told, told};
use crate::flood::{Party, Turn, World};
use crate::link::{Heard, Link, Said};
use crate::mutate::{Mutation, mutate};
use crate::random::Random;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use zyg_protocol::codec::Kind;
use zyg_protocol::message::{CommandId, ExitStatus, FromInit, Step};
use zyg_tests::Raw;

/// Unanswered questions; an init reads no more when 512 answers wait.
const UNANSWERED_MAX: usize = 120;

/// Messages said in one turn, at most.
const BURST: usize = 40;

/// The last command of a good conversation; no other has its number.
const LAST: CommandId = 0x1a57_1a57;

#[derive(Debug)]
struct Question {
    /// Its place among the messages of this conversation, from 1.
    place: u64,
    expect: Expect,
    /// Whether its answer can be expected.
    due: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Talking,
    /// Has said something that may cost it the lease, and waits for what comes of it.
    Doubtful,
    /// Waits until all is answered and nothing runs.
    Settling,
    /// Waits for the end of its last command.
    Leaving,
}

#[derive(Debug)]
pub struct Conversation {
    link: Link,
    /// Holds the lease.
    _session: Raw,
    random: Random,
    state: State,
    deaf: bool,
    sound: bool,
    /// A preparation has failed: nothing runs.
    spent: bool,
    said: u64,
    judged: u64,
    questions: VecDeque<Question>,
    running: Vec<CommandId>,
    unsent: VecDeque<(Told, Option<Mutation>)>,
    life: usize,
    /// What still ran at the end has been told to end.
    killed: bool,
    doubt: Option<u64>,
}

impl Party for Conversation {
    fn begin(world: &mut World<'_>, mut random: Random) -> Self {
        world.tally.begun += 1;
        let session = Raw::connect(world.socket);
        let lease = session.lease();
        let deaf = random.one_in(world.mix.deaf_one_in);
        let life = 1 + random.below(if deaf { 2000 } else { world.mix.life });
        let mut conversation = Self {
            link: Link::over(lease.init.duplicate()),
            _session: session,
            random,
            state: State::Talking,
            deaf,
            sound: true,
            spent: false,
            said: 0,
            judged: 0,
            questions: VecDeque::new(),
            running: Vec::new(),
            unsent: VecDeque::new(),
            life,
            killed: false,
            doubt: None,
        };
        let first = match conversation.random.below(8) {
            0 => commands::prepare(conversation.link.as_fd(), &mut conversation.random),
            1..=3 => commands::first_prepare(&mut conversation.random),
            _ => return conversation,
        };
        conversation.unsent.push_back((first, None));
        conversation
    }

    fn hear(&mut self, world: &mut World<'_>) -> Turn {
        let mut turn = Turn::Still;
        loop {
            match self.link.hear(&mut world.buffer) {
                Heard::Message(message, descriptors) => {
                    turn = Turn::Moved;
                    if self.take(message, &descriptors, world) {
                        world.tally.count("left in good order");
                        return Turn::Over;
                    }
                }
                Heard::Nothing => break,
                Heard::End => {
                    self.over(world);
                    return Turn::Over;
                }
            }
        }
        turn
    }

    fn speak(&mut self, world: &mut World<'_>) -> Turn {
        let mut moved = Turn::Still;
        for _ in 0..=self.random.below(BURST) {
            if self.unsent.is_empty() && !self.goes_on(world) {
                return moved;
            }
            let Some((told, mutation)) = self.unsent.pop_front() else { return Turn::Over };
            match self.link.say(&told.bytes, &told.descriptors) {
                Said::Sent => {
                    self.note(&told, mutation, world);
                    moved = Turn::Moved;
                }
                Said::Full if self.deaf => {
                    world.tally.count("heard no more while deaf");
                    return Turn::Over;
                }
                Said::Full => {
                    self.unsent.push_front((told, mutation));
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
        0
    }
}

impl Conversation {
    /// Whether there is something to be said now. If so and nothing is, the conversation is over.
    fn goes_on(&mut self, world: &mut World<'_>) -> bool {
        match self.state {
            State::Talking if self.life == 0 => {
                if self.deaf || !self.sound || self.random.one_in(3) {
                    world.tally.count("hung up in the middle");
                    return true;
                }
                self.state = State::Settling;
                false
            }
            State::Talking if !self.deaf && self.questions.len() >= UNANSWERED_MAX => false,
            State::Talking => {
                self.life -= 1;
                self.prepare(world);
                true
            }
            State::Settling if !self.questions.is_empty() => false,
            State::Settling if self.running.is_empty() => {
                self.state = State::Leaving;
                self.unsent.push_back((commands::last(LAST), None));
                true
            }
            State::Settling if !self.killed => {
                self.killed = true;
                let kill = |command: &CommandId| (commands::kill(*command), None);
                self.unsent.extend(self.running.iter().map(kill));
                true
            }
            State::Settling | State::Doubtful | State::Leaving => false,
        }
    }

    /// Makes the next message, and spoils it now and then.
    fn prepare(&mut self, world: &mut World<'_>) {
        let mut told = told(&self.running, self.link.as_fd(), &mut self.random);
        if self.deaf || !self.random.one_in(world.mix.mutate_one_in) {
            return self.unsent.push_back((told, None));
        }
        let mutation = mutate(&mut told.bytes, Kind::ToInit as u16, &mut self.random);
        told.expect = Expect::Silence;
        self.unsent.push_back((told, Some(mutation)));
        self.unsent.push_back((commands::probe(), None));
    }

    fn note(&mut self, told: &Told, mutation: Option<Mutation>, world: &mut World<'_>) {
        self.said += 1;
        world.tally.sent += 1;
        if let Some(mutation) = mutation {
            world.tally.count(mutation.name());
            world.remember(mutation, &told.bytes);
            self.state = State::Doubtful;
            self.sound = false;
            self.doubt.get_or_insert(self.said);
        }
        if told.expect != Expect::Silence {
            let due = self.sound && !self.deaf;
            world.tally.asked += u64::from(due);
            self.questions.push_back(Question { place: self.said, expect: told.expect, due });
        }
    }

    /// Init has gone: what it said before is heard.
    fn end(&mut self, world: &mut World<'_>) -> Turn {
        while let Heard::Message(message, descriptors) = self.link.hear(&mut world.buffer) {
            self.take(message, &descriptors, world);
        }
        self.over(world);
        Turn::Over
    }

    fn over(&mut self, world: &mut World<'_>) {
        if let Some(doubt) = self.doubt {
            // What the lease was ended for was read.
            self.judged_up_to(doubt, world);
        }
        world.tally.count("closed");
        assert!(!self.sound, "a lease ended in which only sound things were said: {self:?}");
    }

    fn judged_up_to(&mut self, place: u64, world: &mut World<'_>) {
        world.tally.judged += place.saturating_sub(self.judged);
        self.judged = self.judged.max(place);
    }

    /// Whether that was the last.
    fn take(&mut self, message: FromInit, descriptors: &[OwnedFd], world: &mut World<'_>) -> bool {
        world.tally.count(name(&message));
        if let FromInit::Exited { command, status, .. } = message {
            return self.exited(command, status);
        }
        let front = self.questions.front();
        let fits = front.is_some_and(|question| answers(&message, question.expect));
        if !fits {
            assert!(!self.sound, "{message:?} is no answer to {front:?}");
        }
        assert!(descriptors.len() <= 1, "a terminal at most rides along");
        match message {
            FromInit::Started { command, .. } => self.running.push(command),
            FromInit::PrepareFailed(_) => {
                self.spent = true;
                self.life = self.life.min(200);
            }
            FromInit::Failed { command: LAST, .. } if self.spent => return true,
            FromInit::Failed { command: LAST, failure } => panic!("the last command: {failure}"),
            FromInit::Failed { command: PROBE, .. } if self.state == State::Doubtful => {
                return self.survived(world);
            }
            _ => {}
        }
        if self.doubt.is_none() && fits {
            let question = self.questions.pop_front().expect("it is answered");
            self.judged_up_to(question.place, world);
            world.tally.answered += u64::from(question.due);
        } else if let Some(question) = self.questions.front().filter(|_| fits) {
            world.tally.answered += u64::from(question.due);
            self.questions.pop_front();
        }
        false
    }

    /// By accident what was spoilt was a message, and one that costs nothing.
    fn survived(&mut self, world: &mut World<'_>) -> bool {
        world.tally.count("survived a mutation");
        self.state = State::Talking;
        self.doubt = None;
        self.questions.clear();
        self.judged_up_to(self.said, world);
        false
    }

    fn exited(&mut self, command: CommandId, status: ExitStatus) -> bool {
        let at = self.running.iter().position(|running| *running == command);
        assert!(at.is_some() || !self.sound, "command {command} ended, and did not run");
        at.map(|at| self.running.swap_remove(at));
        if command == LAST {
            assert_eq!(status, ExitStatus::Code(0));
        }
        command == LAST
    }
}

/// Whether this is an answer of which that is expected.
fn answers(message: &FromInit, expect: Expect) -> bool {
    match (message, expect) {
        (FromInit::Prepared { .. } | FromInit::PrepareFailed(_), Expect::Preparation) => true,
        (FromInit::Started { command, .. }, Expect::Started(asked) | Expect::Either(asked)) => {
            *command == asked
        }
        (FromInit::Failed { command, .. }, Expect::Failed(asked) | Expect::Either(asked)) => {
            *command == asked
        }
        // The lease may not allow it: the number is in use, everything is being ended, or it could
        // not be prepared.
        (FromInit::Failed { command, failure }, Expect::Started(asked)) => {
            *command == asked && failure.step == Step::Fork
        }
        _ => false,
    }
}

fn name(message: &FromInit) -> &'static str {
    match message {
        FromInit::Prepared { .. } => "prepared",
        FromInit::PrepareFailed(_) => "not prepared",
        FromInit::Started { .. } => "started",
        FromInit::Exited { .. } => "exited",
        FromInit::Failed { failure, .. } => match failure.step {
            Step::ReadRequest => "failed: request",
            Step::Descriptors => "failed: descriptors",
            Step::Rlimits => "failed: limits",
            Step::Chdir => "failed: directory",
            Step::Fork => "failed: not now",
            Step::Execute | Step::Interpreter => "failed: execute",
            _ => "failed: otherwise",
        },
    }
}
