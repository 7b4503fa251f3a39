//! Messages of the hot path to bytes and back.

use super::Piece;
use std::fmt::Debug;
use std::hint::black_box;
use zyg_protocol::codec::{Message, decode, encode};
use zyg_protocol::message::{
    Acquire, Bytes, Exec, Granted, LeaseId, Reply, Request, Start, Strings, ToInit,
};

/// Both ways of each.
pub fn pieces() -> Vec<Piece> {
    let acquire = Request::Acquire(Acquire { request: 1000, ..Acquire::default() });
    let granted = Reply::Granted(Granted {
        request: 1000,
        lease: LeaseId(1000),
        start: Start::Warm,
        waited_us: 20,
        time_ms: None,
        start_in: None,
        attach: Vec::new(),
    });
    let mut pieces = Vec::new();
    pieces.extend(both("acquire", acquire));
    pieces.extend(both("granted", granted));
    pieces.extend(both("exec", ToInit::Exec(exec())));
    pieces
}

/// With an environment as long as that of a shell.
fn exec() -> Exec {
    let variable = |number| format!("VARIABLE_{number}=some value of it");
    let program = Bytes::from(b"/bin/true".to_vec());
    Exec {
        command: 1,
        argv: Strings::from_iter([&program]),
        program,
        env: (0..30).map(variable).collect(),
        cwd: Some(Bytes::from(b"/".to_vec())),
        descriptors: vec![0, 1, 2],
        ..Exec::default()
    }
}

fn both<M: Message + Debug + 'static>(name: &str, message: M) -> [Piece; 2] {
    let mut bytes = Vec::new();
    encode(&message, &mut bytes).expect("it is within its bound");
    let mut buffer = Vec::with_capacity(bytes.len());
    [
        Piece::new(format!("encode_{name}"), move || {
            encode(black_box(&message), &mut buffer).expect("it is within its bound");
        }),
        Piece::new(format!("decode_{name}"), move || {
            black_box(decode::<M>(black_box(&bytes)).expect("it was encoded above"));
        }),
    ]
}
