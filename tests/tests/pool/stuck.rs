//! What does not answer is given up after a stated time, and holds nobody else up meanwhile.

use crate::shared::{Stopped, acquire, held, paid_for, pool, template, with_pool};
use std::time::Duration;
use zyg_protocol::message::{Acquire, Request};
use zyg_tests::{Baseline, Raw, Setup, eventually, soon, wait_readable};
use zygote_client::{Client, LeaseOptions, PoolStatus};

fn row(client: &Client, profile: &str) -> PoolStatus {
    let mut rows = client.status().unwrap().profiles.into_iter();
    rows.find(|row| row.name == profile).unwrap()
}

#[test]
fn an_end_that_does_not_come_is_paid_for_and_set_apart_and_nobody_waits_for_it() {
    let config = format!("{}[profile.other]\nhostname = \"other\"\n", pool(1, 1));
    let server = Setup::default().config(&config).start_warm();
    let client = server.client();
    let stopped = Stopped::stop(template(&server));
    let other = || {
        let client = server.client();
        soon("another profile's lease", move || {
            let lease = client.acquire(LeaseOptions::new().profile("other")).unwrap();
            assert!(lease.command("true").status().unwrap().success());
        });
    };
    client.lease().unwrap().release().unwrap();
    // Its template would have killed it.
    eventually("the dying", || (row(&client, "default").dying == 1).then_some(()));
    other();
    eventually("the quarantine", || (row(&client, "default").quarantined == 1).then_some(()));
    let stuck = row(&client, "default");
    assert_eq!((stuck.dying, paid_for(&stuck)), (0, 1), "{stuck:?}");
    other();
    drop(stopped);
    eventually("its end after all", || {
        let row = row(&client, "default");
        (row.quarantined == 0 && row.warm == 1).then_some(())
    });
    let lease = client.lease().unwrap();
    assert!(lease.command("true").status().unwrap().success());
}

/// It owes nothing but an end, which need not come of a zygote that is stuck.
#[test]
fn a_template_that_ends_nothing_is_replaced() {
    let server = with_pool(0, 2).start();
    let client = server.client();
    let lease = client.lease().unwrap();
    let silent = template(&server);
    let (process, _stopped) = (held(silent), Stopped::stop(silent));
    lease.release().unwrap();
    wait_readable(process, "the end of the silent template");
    eventually("nothing left", || (paid_for(&row(&client, "default")) == 0).then_some(()));
    assert!(server.log().contains("has not answered for 20 s"), "{}", server.log());
    client.lease().unwrap();
}

#[test]
fn a_template_that_does_not_answer_is_replaced_and_who_waits_is_served() {
    let server = with_pool(1, 2).start_warm();
    let baseline = Baseline::of(&server);
    let silent = template(&server);
    let (process, _stopped) = (held(silent), Stopped::stop(silent));
    let holder = Raw::connect(server.socket());
    let lease = holder.lease();
    let waiter = Raw::connect(server.socket());
    waiter.say(&acquire(1));
    wait_readable(process, "the end of the silent template");
    let late = waiter.take_lease();
    assert!(server.log().contains("has not answered for 20 s"), "{}", server.log());
    assert_ne!(template(&server), silent);
    // What was leased of the old one goes on.
    assert_eq!(server.pool().leased, 2);
    drop((holder, lease, waiter, late));
    baseline.assert_restored();
}

#[test]
fn builds_that_hang_keep_no_other_profiles_waiting() {
    let idle = "min = 0\nmax = 64\nlearn = false\n";
    let config = format!(
        "[profile.default.pool]\n{idle}[profile.other]\nhostname = \"other\"\n\
         [profile.other.pool]\n{idle}"
    );
    let server = Setup::default().config(&config).start();
    let client = server.client();
    let other = LeaseOptions::new().profile("other").clone();
    drop(client.acquire(&other).unwrap());
    let [template] = server.processes_named("zyg-template")[..] else { panic!("one template") };
    let _stopped = Stopped::stop(template);
    let hanging = Raw::connect(server.socket());
    let acquire = Acquire { profile: Some("other".into()), request: 1, ..Acquire::default() };
    hanging.say(&Request::AcquireMany { acquire, count: 32 });
    let places = std::thread::available_parallelism().unwrap().get() as u32;
    eventually("as many builds as there are places", || {
        (row(&client, "other").spawning >= places).then_some(())
    });
    // Long before the template is given up (20 s).
    let mut cold = LeaseOptions::new();
    let lease = client.acquire(cold.wait(Duration::from_secs(10))).unwrap();
    assert!(lease.command("true").status().unwrap().success());
    assert!(row(&client, "other").spawning >= places, "the control: those hang on");
}
