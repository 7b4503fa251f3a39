//! What a session has asked and was not answered yet.

use crate::requests::Expect;
use std::collections::VecDeque;
use zyg_protocol::message::{Denial, Refusal, Reply, RequestId, Start};

#[derive(Debug)]
pub struct Question {
    /// Its place among the messages of this session, from 1.
    pub place: u64,
    pub id: RequestId,
    pub expect: Expect,
    /// Whether the lease that it may be answered by lasts until it is given back.
    pub lasting: bool,
    /// Whether its answer can be expected: it was asked by a session that had done nothing wrong,
    /// and that reads.
    pub due: bool,
}

/// Questions in the order in which they were asked.
#[derive(Debug, Default)]
pub struct Questions(pub VecDeque<Question>);

impl Questions {
    /// The numbers of the acquires that may be waiting.
    pub fn waiting(&self) -> Vec<RequestId> {
        let waiting = self.0.iter().filter(|question| question.expect.may_wait());
        waiting.map(|question| question.id).collect()
    }

    /// The question that a reply answers. Those of one number are answered in their order, but for
    /// the second while the first still waits.
    pub fn answered_by(&self, id: RequestId, reply: &Reply) -> Option<usize> {
        let status = matches!(reply, Reply::Status { .. });
        let reserved = matches!(reply, Reply::Reserved { .. });
        let same = |question: &Question| {
            question.id == id
                && (question.expect == Expect::Status) == status
                && (question.expect == Expect::Reserved) == reserved
        };
        let mut same = self.0.iter().enumerate().filter(|(_, question)| same(question));
        let (at, first) = same.next()?;
        let fits = match reply {
            Reply::Granted(_) => first.expect.may_wait(),
            Reply::Denied { denial, .. } => first.expect.allows(denial),
            Reply::Status { .. } | Reply::Reserved { .. } => true,
            Reply::Refused(_) | Reply::Drained { .. } => false,
        };
        if fits {
            return Some(at);
        }
        let bad = matches!(reply, Reply::Denied { denial: Denial::BadRequest { .. }, .. });
        same.next().filter(|_| bad && first.expect.may_wait()).map(|(at, _)| at)
    }
}

/// The name under which a reply is counted.
pub fn name(reply: &Reply) -> &'static str {
    match reply {
        Reply::Granted(granted) => said_start(granted.start),
        Reply::Denied { denial, .. } => said_denial(denial),
        Reply::Status { .. } => "status",
        Reply::Reserved { .. } => "reserved",
        Reply::Drained { .. } => "drained",
        Reply::Refused(Refusal::Malformed { .. }) => "refused: malformed",
        Reply::Refused(Refusal::WrongVersion { .. }) => "refused: version",
        Reply::Refused(_) => "refused: otherwise",
    }
}

/// The number of the question that a reply answers, if it answers one.
pub fn number(reply: &Reply) -> Option<RequestId> {
    match reply {
        Reply::Granted(granted) => Some(granted.request),
        Reply::Denied { request, .. }
        | Reply::Status { request, .. }
        | Reply::Reserved { request, .. }
        | Reply::Drained { request, .. } => Some(*request),
        Reply::Refused(_) => None,
    }
}

fn said_start(start: Start) -> &'static str {
    match start {
        Start::Warm => "granted: warm",
        Start::Cold(_) => "granted: cold",
    }
}

fn said_denial(denial: &Denial) -> &'static str {
    match denial {
        Denial::NoSuchProfile { .. } => "denied: no such profile",
        Denial::BadRequest { .. } => "denied: bad request",
        Denial::NotServed { .. } => "denied: not served",
        Denial::NotAllowed { .. } => "denied: not allowed",
        Denial::QuotaExceeded { .. } => "denied: quota",
        Denial::QueueFull { .. } => "denied: queue full",
        Denial::DeadlineExpired { .. } => "denied: deadline",
        Denial::Cancelled => "denied: cancelled",
        Denial::Draining => "denied: draining",
        Denial::BuildFailing { .. } => "denied: build failing",
        Denial::MountRefused { .. } => "denied: mount refused",
        Denial::NotYours { .. } => "denied: not yours",
    }
}
