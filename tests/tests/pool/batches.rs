//! Several environments at once: all of them or none, for whoever asks, and without standing in each
//! other's way for ever.

use crate::shared::{
    acquire, acquire_many, denial, has_heard, only_root, pool, say_acquires, sum, wait_queued,
};
use zyg_protocol::message::{Denial, Reply, Request};
use zyg_tests::{Raw, RawLease, Server, Setup, connect_as, eventually, is_root, soon};

const ROOM: u32 = 5;

/// More than half of the room.
const MANY: u32 = 3;

/// A server that has room for so few, and keeps none.
fn small() -> Server {
    let config = format!("[server]\nzygotes_max = {ROOM}\n{}", pool(0, 64));
    Setup::default().config(&config).start()
}

fn take(client: &Raw, count: u32) -> Vec<RawLease> {
    (0..count).map(|_| client.take_lease()).collect()
}

fn give_back(client: &Raw, leases: Vec<RawLease>) {
    for lease in leases {
        client.say(&Request::Release { lease: lease.granted.lease });
    }
}

/// Has the server look at all that was said before.
fn settle(server: &Server) {
    server.client().status().unwrap();
}

#[test]
fn two_users_who_each_want_more_than_half_are_both_served() {
    if !is_root() {
        return only_root();
    }
    let server = small();
    let holder = Raw::connect(server.socket());
    holder.say(&acquire_many(ROOM));
    let held = take(&holder, ROOM);
    let users = [61_101, 61_102].map(|uid| connect_as(uid, server.socket()));
    for (user, queued) in users.iter().zip([MANY, 2 * MANY]) {
        user.say(&acquire_many(MANY));
        wait_queued(&server, queued);
    }
    give_back(&holder, held);
    let leases = take(&users[0], MANY);
    settle(&server);
    assert!(!has_heard(&users[1]), "there is no room for all of them");
    give_back(&users[0], leases);
    take(&users[1], MANY);
    drop((holder, users));
    let client = server.client();
    eventually("nothing leased, nothing queued", || {
        let left = sum(&client.status().unwrap(), |pool| pool.leased + pool.waiters);
        (left == 0).then_some(())
    });
}

#[test]
fn users_go_on_being_served_though_each_wants_more_than_half() {
    const ROUNDS: u32 = 20;
    if !is_root() {
        return only_root();
    }
    let server = small();
    let users = [61_111, 61_112, 61_113].map(|uid| connect_as(uid, server.socket()));
    let single = connect_as(61_114, server.socket());
    let batches = users.into_iter().map(|user| {
        Box::new(move || {
            user.say(&acquire_many(MANY));
            let leases = take(&user, MANY);
            give_back(&user, leases);
        }) as Box<dyn Fn() + Send>
    });
    let one = move || {
        single.say(&acquire(1));
        let lease = single.take_lease();
        give_back(&single, vec![lease]);
    };
    let clients: Vec<_> = batches.chain([Box::new(one) as Box<dyn Fn() + Send>]).collect();
    soon("all rounds of all users", move || {
        std::thread::scope(|threads| {
            for client in clients {
                threads.spawn(move || (0..ROUNDS).for_each(|_| client()));
            }
        });
    });
}

#[test]
fn more_than_the_server_may_have_are_refused_by_name() {
    let server = small();
    let client = Raw::connect(server.socket());
    client.say(&acquire_many(ROOM + 1));
    for request in 1..=u64::from(ROOM + 1) {
        match client.reply() {
            Some(Reply::Denied { request: of, denial: Denial::BadRequest { reason } }) => {
                assert_eq!(of, request);
                assert!(reason.contains("zygotes_max is 5"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    // The control: as many as there may be.
    client.say(&acquire_many(ROOM));
    take(&client, ROOM);
}

#[test]
fn whoever_waits_for_several_has_none_before_all_are_there() {
    let server = small();
    let holder = Raw::connect(server.socket());
    let held = holder.lease();
    let waiting = Raw::connect(server.socket());
    waiting.say(&acquire_many(ROOM));
    wait_queued(&server, ROOM);
    assert!(!has_heard(&waiting), "one of them is missing");
    give_back(&holder, vec![held]);
    take(&waiting, ROOM);
}

#[test]
fn the_place_of_a_batch_that_hangs_up_is_free_for_who_is_behind() {
    let server = small();
    let holder = Raw::connect(server.socket());
    let _held = holder.lease();
    let waiting = Raw::connect(server.socket());
    waiting.say(&acquire_many(ROOM));
    wait_queued(&server, ROOM);
    let behind = Raw::connect(server.socket());
    say_acquires(&behind, 2);
    wait_queued(&server, ROOM + 2);
    assert!(!has_heard(&behind), "first come, first served");
    drop(waiting);
    take(&behind, 2);
}

#[test]
fn a_batch_is_denied_whole_for_one_number_that_is_pending() {
    let server = small();
    let holder = Raw::connect(server.socket());
    holder.say(&acquire_many(ROOM));
    let held = take(&holder, ROOM);
    let client = Raw::connect(server.socket());
    client.say(&acquire(2));
    wait_queued(&server, 1);
    client.say(&acquire_many(MANY));
    for _ in 0..MANY {
        let denial = denial(&client);
        assert!(denial.to_string().contains("pending already"), "{denial}");
    }
    // The one that was pending goes on.
    give_back(&holder, held);
    take(&client, 1);
}

#[test]
fn to_withdraw_one_of_a_batch_is_to_withdraw_all() {
    let server = small();
    let holder = Raw::connect(server.socket());
    let held = holder.lease();
    let waiting = Raw::connect(server.socket());
    waiting.say(&acquire_many(ROOM));
    wait_queued(&server, ROOM);
    waiting.say(&Request::Cancel { request: 3 });
    for _ in 0..ROOM {
        assert_eq!(denial(&waiting), Denial::Cancelled);
    }
    wait_queued(&server, 0);
    // Its numbers are free again.
    give_back(&holder, vec![held]);
    waiting.say(&acquire_many(ROOM));
    take(&waiting, ROOM);
}
