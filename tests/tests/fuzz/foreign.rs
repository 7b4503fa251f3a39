//! Messages that are sound and belong elsewhere: replies sent as requests, what the server says to
//! its templates, what an init says to its client.

use crate::random::Random;
use crate::values::{bytes, number, text};
use zyg_protocol::codec::{Kind, Message, encode};
use zyg_protocol::message::{
    Acquire, Attach, Authority, Denial, Exec, ExitStatus, Failure, FromInit, FromTemplate, Granted,
    LeaseId, Lifeline, Recipe, Refusal, Reply, Request, Scope, Start, Status, Step, Strings,
    ToInit, ToTemplate, Tree, Usage,
};

/// A message of any conversation but `own`.
pub fn message(own: u16, random: &mut Random) -> Vec<u8> {
    loop {
        let kind = 1 + random.below(8) as u16;
        if kind != own {
            return of_kind(kind, random);
        }
    }
}

fn of_kind(kind: u16, random: &mut Random) -> Vec<u8> {
    const REQUEST: u16 = Kind::Request as u16;
    const REPLY: u16 = Kind::Reply as u16;
    const TO_INIT: u16 = Kind::ToInit as u16;
    const FROM_INIT: u16 = Kind::FromInit as u16;
    const TO_TEMPLATE: u16 = Kind::ToTemplate as u16;
    const FROM_TEMPLATE: u16 = Kind::FromTemplate as u16;
    const LIFELINE: u16 = Kind::Lifeline as u16;
    match kind {
        REQUEST => short(&request(random)),
        REPLY => short(&reply(random)),
        TO_INIT => short(&to_init(random)),
        FROM_INIT => short(&from_init(random)),
        TO_TEMPLATE => short(&to_template(random)),
        FROM_TEMPLATE => short(&from_template(random)),
        LIFELINE => short(&lifeline(random)),
        _ => short(&exec(random)),
    }
}

/// It, encoded; what comes out too long is left at nothing but a header.
fn short<M: Message>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    if encode(message, &mut bytes).is_err() {
        bytes = b"zyg\0".to_vec();
    }
    bytes
}

fn request(random: &mut Random) -> Request {
    match random.below(4) {
        0 => Request::Acquire(Acquire { request: number(random), ..Acquire::default() }),
        1 => Request::Cancel { request: number(random) },
        2 => Request::Release { lease: LeaseId(number(random)) },
        _ => Request::Status { request: number(random) },
    }
}

fn reply(random: &mut Random) -> Reply {
    match random.below(4) {
        0 => Reply::Granted(Granted {
            request: number(random),
            lease: LeaseId(number(random)),
            start: Start::Warm,
            waited_us: number(random),
            time_ms: Some(number(random)),
            start_in: Some(bytes(random)),
            attach: vec![Attach::Tree { target: bytes(random) }],
        }),
        1 => {
            let denial = Denial::BadRequest { reason: text(random) };
            Reply::Denied { request: number(random), denial }
        }
        2 => Reply::Status { request: number(random), status: Status::default() },
        _ => Reply::Refused(Refusal::Malformed { reason: text(random) }),
    }
}

fn to_init(random: &mut Random) -> ToInit {
    match random.below(4) {
        0 => ToInit::Prepare(Default::default()),
        1 => ToInit::Exec(exec(random)),
        2 => ToInit::ExecStored { command: number(random) as u32 },
        _ => {
            let (command, signal) = (number(random) as u32, number(random) as i32);
            ToInit::Signal { command, signal, scope: Scope::Group }
        }
    }
}

fn exec(random: &mut Random) -> Exec {
    Exec { program: bytes(random), argv: Strings::from_iter([bytes(random)]), ..Exec::default() }
}

fn failure(random: &mut Random) -> Failure {
    Failure { step: Step::Execute, errno: number(random) as i32, subject: bytes(random) }
}

fn from_init(random: &mut Random) -> FromInit {
    let command = number(random) as u32;
    match random.below(5) {
        0 => FromInit::Prepared { read_only: vec![bytes(random)] },
        1 => FromInit::PrepareFailed(failure(random)),
        2 => FromInit::Started { command, pid: number(random) as u32 },
        3 => FromInit::Failed { command, failure: failure(random) },
        _ => FromInit::Exited { command, status: ExitStatus::Code(0), usage: Usage::default() },
    }
}

fn to_template(random: &mut Random) -> ToTemplate {
    match random.below(4) {
        0 => {
            let authority = Authority { uid: number(random) as u32, ..Authority::default() };
            ToTemplate::Build(Box::new(Recipe { authority, ..Recipe::default() }))
        }
        1 => ToTemplate::Spawn { slot: number(random), urgent: false },
        2 => ToTemplate::Destroy { slot: number(random) },
        _ => {
            let trees = vec![Tree { path: bytes(random), read_only: false }];
            ToTemplate::Open { ticket: number(random), trees }
        }
    }
}

fn from_template(random: &mut Random) -> FromTemplate {
    match random.below(6) {
        0 => FromTemplate::Ready { build_us: number(random), read_only: vec![bytes(random)] },
        1 => FromTemplate::Unable(failure(random)),
        2 => FromTemplate::SpawnFailed { slot: number(random), failure: failure(random) },
        3 => FromTemplate::Gone { slot: number(random) },
        4 => FromTemplate::Opened { ticket: number(random) },
        _ => FromTemplate::OpenFailed { ticket: number(random), failure: failure(random) },
    }
}

fn lifeline(random: &mut Random) -> Lifeline {
    if random.one_in(2) {
        return Lifeline::Unable(failure(random));
    }
    Lifeline::Ready { spawn_us: number(random) }
}
