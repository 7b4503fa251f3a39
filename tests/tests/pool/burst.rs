//! More than one asks at once: who comes is served, the warm ones first, and users take turns.

use crate::shared::{
    Stopped, acquire, acquire_many, has_heard, only_root, say_acquires, template, wait_queued,
    with_pool,
};
use std::collections::BTreeMap;
use zyg_protocol::message::{LeaseId, Request, Start};
use zyg_tests::{Baseline, Raw, RawLease, Server, Setup, connect_as, eventually, is_root};

const WARM: u32 = 64;

#[test]
fn as_many_as_are_warm_are_served_at_once() {
    // No room for more: whatever is granted here was warm before anybody asked.
    let server = with_pool(WARM, WARM).start_warm();
    let baseline = Baseline::of(&server);
    let clients: Vec<_> = (0..WARM).map(|_| Raw::connect(server.socket())).collect();
    for client in &clients {
        client.say(&acquire(1));
    }
    let leases: Vec<_> = clients.iter().map(Raw::take_lease).collect();
    let cold: Vec<_> = leases.iter().filter(|lease| lease.granted.start != Start::Warm).collect();
    assert!(cold.is_empty(), "{cold:?}");
    // The control: the next one has to wait, and is cold.
    let next = Raw::connect(server.socket());
    next.say(&acquire(1));
    wait_queued(&server, 1);
    drop((clients, leases));
    let late = next.take_lease();
    assert!(matches!(late.granted.start, Start::Cold(_)));
    drop((next, late));
    baseline.assert_restored();
}

#[test]
fn a_burst_of_ten_times_what_is_warm_is_served_whole_and_the_warm_ones_first() {
    const EACH: u32 = 10;
    let server = with_pool(WARM, EACH * WARM).start_warm();
    let baseline = Baseline::of(&server);
    // So that nothing is built before all have asked.
    let stopped = Stopped::stop(template(&server));
    let clients: Vec<_> = (0..WARM).map(|_| Raw::connect(server.socket())).collect();
    for client in &clients {
        say_acquires(client, EACH);
    }
    wait_queued(&server, (EACH - 1) * WARM);
    drop(stopped);
    let mut granted = BTreeMap::new();
    for client in &clients {
        for _ in 0..EACH {
            // Held by their sessions; of their descriptors this process would not have enough.
            let lease = client.take_lease();
            granted.insert(lease.granted.lease, lease.granted.start);
        }
    }
    let order: Vec<_> = granted.into_values().collect();
    assert_eq!(order.len(), (EACH * WARM) as usize);
    let (first, others) = order.split_at(WARM as usize);
    assert!(first.iter().all(|start| *start == Start::Warm), "{first:?}");
    assert!(others.iter().all(|start| matches!(start, Start::Cold(_))), "{others:?}");
    drop(clients);
    baseline.assert_restored();
}

/// Users that need not exist: their zygotes have the authority of their numbers.
const USERS: [u32; 8] = [61_001, 61_002, 61_003, 61_004, 61_005, 61_006, 61_007, 61_008];

/// A server that has room for so few zygotes, all of them leased by the caller.
fn full(zygotes: u32) -> (Server, Raw, Vec<RawLease>) {
    let config = format!(
        "[server]\nzygotes_max = {zygotes}\n\
         [profile.default.pool]\nmin = 0\nmax = 64\nlearn = false\n"
    );
    let server = Setup::default().config(&config).start();
    let holder = Raw::connect(server.socket());
    holder.say(&acquire_many(zygotes));
    let leases = (0..zygotes).map(|_| holder.take_lease()).collect();
    (server, holder, leases)
}

/// Takes what is granted, whoever's it is, until all backlogs are served, and gives each back.
/// Returns the users in the order of their grants.
fn serve_all(users: &[(u32, Raw)], each: u32) -> Vec<u32> {
    let mut order: BTreeMap<LeaseId, u32> = BTreeMap::new();
    std::thread::scope(|threads| {
        let serve = |(uid, client): &(u32, Raw)| {
            let grants = (0..each).map(|_| {
                let lease = client.take_lease().granted.lease;
                client.say(&Request::Release { lease });
                (lease, *uid)
            });
            grants.collect::<Vec<_>>()
        };
        let serving: Vec<_> = users.iter().map(|user| threads.spawn(move || serve(user))).collect();
        for thread in serving {
            order.extend(thread.join().unwrap());
        }
    });
    order.into_values().collect()
}

/// How far anybody's share of a beginning of this order was from an equal one, as a part of that;
/// the worst over all beginnings of at least `from`.
fn unfairness(order: &[u32], from: usize) -> f64 {
    let mut worst: f64 = 0.0;
    let mut counts: BTreeMap<u32, u32> = USERS.iter().map(|uid| (*uid, 0)).collect();
    for (index, uid) in order.iter().enumerate() {
        *counts.get_mut(uid).unwrap() += 1;
        let equal = (index + 1) as f64 / USERS.len() as f64;
        if index + 1 >= from {
            let off = counts.values().map(|count| (f64::from(*count) - equal).abs() / equal);
            worst = off.fold(worst, f64::max);
        }
    }
    worst
}

#[test]
fn the_measure_of_fairness_finds_an_order_of_arrival_unfair() {
    let arrival: Vec<u32> = USERS.iter().flat_map(|uid| [*uid; 40]).collect();
    assert!(unfairness(&arrival, 160) >= 1.0);
    let turns: Vec<u32> = (0..320).map(|index| USERS[index % 8]).collect();
    assert!(unfairness(&turns, 160) < 0.05);
}

#[test]
fn users_with_equal_backlogs_are_served_in_turns() {
    const EACH: u32 = 40;
    /// From here on a turn more or less is within a tenth.
    const FROM: usize = 160;
    if !is_root() {
        return only_root();
    }
    let (server, holder, leases) = full(8);
    let users = USERS.map(|uid| (uid, connect_as(uid, server.socket())));
    // One backlog after the other: by arrival the first user would have all before the second.
    for (index, (_, client)) in (1..).zip(&users) {
        say_acquires(client, EACH);
        wait_queued(&server, index * EACH);
    }
    drop((holder, leases));
    let order = serve_all(&users, EACH);
    let (off, early) = (unfairness(&order, FROM), unfairness(&order, FROM / 2));
    println!("off by {:.1} % at most ({:.1} % from half as early)", off * 100.0, early * 100.0);
    assert!(off <= 0.1, "{off}: {order:?}");
}

#[test]
fn who_asks_for_one_is_served_within_the_bound_though_another_has_many_queued() {
    /// Of `n` uids that wait, each gets every `n`-th build place at the least.
    const BOUND: usize = 2;
    if !is_root() {
        return only_root();
    }
    let (server, holder, mut leases) = full(4);
    let many = connect_as(USERS[0], server.socket());
    say_acquires(&many, 60);
    wait_queued(&server, 60);
    let release = |lease: Option<RawLease>| {
        holder.say(&Request::Release { lease: lease.unwrap().granted.lease });
    };
    // The other has had its first turn already.
    release(leases.pop());
    let mut taken = vec![many.take_lease()];
    let one = connect_as(USERS[1], server.socket());
    one.say(&acquire(1));
    wait_queued(&server, 60);
    // One place after the other: the bound is on places, and builds overtake each other.
    for place in 1..=BOUND {
        release(leases.pop());
        let (client, served) = eventually("a grant", || {
            [&one, &many].into_iter().zip(["one", "many"]).find(|(client, _)| has_heard(client))
        });
        taken.push(client.take_lease());
        if served == "one" {
            return println!("served with place {place} of {BOUND}");
        }
    }
    panic!("not among {BOUND} places");
}
