//! Several leases of one request.

use super::*;
use std::collections::BTreeSet;

#[test]
fn all_that_is_granted_is_prepared_at_once_and_had() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let (acquire, count) = server.hear_many();
            assert_eq!((count, acquire.profile.as_deref()), (3, Some("p")));
            let attach = || vec![Attach::Tree { target: Bytes::from(&b"/data"[..]) }];
            // In any order.
            let inits = [2, 0, 1].map(|index| {
                let request = acquire.request + index;
                server.grant_as(request, LeaseId(10 + index), attach())
            });
            // None is answered before all have been told.
            for (init, _) in &inits {
                let Some((ToInit::Prepare(prepare), trees)) = init.hear() else {
                    panic!("no prepare")
                };
                assert_eq!((prepare.attach, trees.len()), (attach(), 1));
                assert_eq!(prepare.hostname.as_deref(), Some("box"));
            }
            for (init, _) in &inits {
                init.say(&FromInit::Prepared { read_only: Vec::new() }, &[]);
            }
            let ran = inits.each_ref().map(|(init, _)| init.run(0).cwd);
            assert!(ran.iter().all(|cwd| cwd.as_ref().map(text) == Some("/work")));
            (server.hear_all(), inits)
        });
        let mut options = LeaseOptions::new();
        options.profile("p").cwd("/work").hostname("box");
        let leases = client.acquire_many(&options, 3).unwrap();
        let ids: Vec<_> = leases.iter().map(Lease::id).collect();
        assert_eq!(ids, [12, 10, 11].map(LeaseId), "as they were granted");
        for lease in &leases {
            assert!(lease.command("true").status().unwrap().success());
        }
        drop((leases, client));
        let (said, _inits) = server.join().unwrap();
        let released = ids.into_iter().map(|lease| Request::Release { lease });
        assert_eq!(said, released.collect::<Vec<_>>());
    });
}

#[test]
fn one_denial_gives_back_what_was_granted_and_withdraws_the_rest() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let (Acquire { request, .. }, count) = server.hear_many();
            assert_eq!(count, 6);
            let granted = [0, 1]
                .map(|index| server.grant_as(request + index, LeaseId(10 + index), Vec::new()));
            server.deny(request + 3, Denial::QueueFull { waiters: 9 });
            let withdrawn = [2, 4, 5].map(|index| {
                let said = server.hear().map(|(request, _)| request);
                assert_eq!(said, Some(Request::Cancel { request: request + index }));
                request + index
            });
            // One was granted already when it was withdrawn, one has another reason by then.
            server.deny(withdrawn[2], Denial::Draining);
            let late = server.grant_as(withdrawn[0], LeaseId(12), Vec::new());
            server.deny(withdrawn[1], Denial::Cancelled);
            // Not a lease is given back while anything waits that could be granted it.
            let released: Vec<_> = (0..3).map(|_| server.hear::<Request>().unwrap().0).collect();
            assert_eq!(
                released,
                [10, 11, 12].map(|lease| Request::Release { lease: LeaseId(lease) })
            );
            server.grant(Vec::new());
            drop((granted, late));
            server.hear_all()
        });
        let error = client.acquire_many(&LeaseOptions::new(), 6).unwrap_err();
        assert!(
            matches!(error, AcquireError::Denied(Denial::QueueFull { waiters: 9 })),
            "the first reason: {error}"
        );
        // The session goes on.
        client.lease().unwrap();
        drop(client);
        let left = server.join().unwrap();
        assert_eq!(left, [Request::Release { lease: LeaseId(7) }]);
    });
}

/// A server stores only so many answers for a client that does not read.
#[test]
fn many_are_withdrawn_in_portions() {
    const COUNT: u32 = 1000;
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let (acquire, _) = server.hear_many();
            server.deny(acquire.request, Denial::Draining);
            let (mut unread, mut most) = (Vec::new(), 0);
            let mut withdrawn = BTreeSet::new();
            while withdrawn.len() < COUNT as usize - 1 {
                let Some((Request::Cancel { request }, _)) = server.hear() else {
                    panic!("cancel")
                };
                unread.push(request);
                most = most.max(unread.len());
                // No more come before these are answered.
                if unread.len() == 64 || withdrawn.len() + unread.len() == COUNT as usize - 1 {
                    for request in unread.drain(..) {
                        server.deny(request, Denial::Cancelled);
                        withdrawn.insert(request);
                    }
                }
            }
            (most, server.hear_all())
        });
        let error = client.acquire_many(&LeaseOptions::new(), COUNT).unwrap_err();
        assert!(matches!(error, AcquireError::Denied(Denial::Draining)), "{error}");
        drop(client);
        assert_eq!(server.join().unwrap(), (64, Vec::new()));
    });
}

#[test]
fn a_hang_up_in_the_middle_ends_what_was_granted() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let (acquire, _) = server.hear_many();
            server.grant_as(acquire.request + 1, LeaseId(1), Vec::new())
        });
        let error = client.acquire_many(&LeaseOptions::new(), 2).unwrap_err();
        let AcquireError::Request(RequestError::Session(SessionError::Closed)) = error else {
            panic!("{error}")
        };
        let (init, _alive) = server.join().unwrap();
        assert!(init.hear::<FromInit>().is_none(), "nothing holds the channel any more");
    });
}

#[test]
fn a_hang_up_while_withdrawing_is_not_waited_for() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let (acquire, _) = server.hear_many();
            server.deny(acquire.request + 1, Denial::Draining);
        });
        let error = client.acquire_many(&LeaseOptions::new(), 4).unwrap_err();
        assert!(matches!(error, AcquireError::Denied(Denial::Draining)), "{error}");
        server.join().unwrap();
    });
}

#[test]
fn one_that_cannot_be_prepared_gives_all_back() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let (acquire, _) = server.hear_many();
            let target = Bytes::from(&b"/x"[..]);
            let inits = [0, 1, 2].map(|index| {
                let attach = vec![Attach::Cover { target: target.clone() }];
                server.grant_as(acquire.request + index, LeaseId(index), attach)
            });
            let failure = Failure { step: Step::Layer, errno: 22, subject: Bytes::new() };
            inits[1].0.say(&FromInit::PrepareFailed(failure), &[]);
            inits[0].0.say(&FromInit::Prepared { read_only: Vec::new() }, &[]);
            (server.hear_all(), inits)
        });
        let error = client.acquire_many(&LeaseOptions::new(), 3).unwrap_err();
        assert!(matches!(error, AcquireError::Prepare(Failure { step: Step::Layer, .. })));
        drop(client);
        let (mut said, _inits) = server.join().unwrap();
        said.sort_by_key(|request| format!("{request:?}"));
        assert_eq!(said, [0, 1, 2].map(|lease| Request::Release { lease: LeaseId(lease) }));
    });
}

#[test]
fn numbers_are_unique_among_threads() {
    const THREADS: u32 = 6;
    const TURNS: u32 = 4;
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let mut numbers = Vec::new();
            let mut held = Vec::new();
            while let Some((request, _)) = server.hear() {
                let (first, count) = match request {
                    Request::AcquireMany { acquire, count } => (acquire.request, count),
                    Request::Acquire(acquire) => (acquire.request, 1),
                    Request::Release { .. } => continue,
                    other => panic!("{other:?} was not to come"),
                };
                for number in (first..first + u64::from(count)).rev() {
                    numbers.push(number);
                    held.push(server.grant_as(number, LeaseId(number), Vec::new()));
                }
            }
            numbers
        });
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let client = &client;
                scope.spawn(move || {
                    for turn in 0..TURNS {
                        let count = 1 + (thread + turn) % 5;
                        let many = client.acquire_many(&LeaseOptions::new(), count).unwrap();
                        assert_eq!(many.len(), count as usize);
                        // Its own answers and nobody else's: a row of numbers.
                        let ids: BTreeSet<_> = many.iter().map(|lease| lease.id().0).collect();
                        let (first, last) = (ids.first().unwrap(), ids.last().unwrap());
                        assert_eq!(last - first + 1, u64::from(count));
                        client.lease().unwrap();
                    }
                });
            }
        });
        drop(client);
        let numbers = server.join().unwrap();
        let unique: BTreeSet<_> = numbers.iter().collect();
        assert_eq!(unique.len(), numbers.len());
    });
}

#[test]
fn an_answer_that_comes_twice_is_the_end() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let (acquire, _) = server.hear_many();
            let request = acquire.request;
            let twice = [(), ()].map(|()| server.grant_as(request, LeaseId(1), Vec::new()));
            (twice, server.hear_all())
        });
        let error = client.acquire_many(&LeaseOptions::new(), 2).unwrap_err();
        let AcquireError::Request(RequestError::Session(SessionError::Malformed(rule))) = error
        else {
            panic!("{error}")
        };
        assert!(rule.contains("twice"), "{rule}");
        drop(client);
        server.join().unwrap();
    });
}

#[test]
fn none_are_had_without_a_word_and_too_many_are_refused_without_one() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| server.hear_all());
        assert!(client.acquire_many(&LeaseOptions::new(), 0).unwrap().is_empty());
        let error = client.acquire_many(&LeaseOptions::new(), 4097).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of leases is 4097 leases, more than the 4096 that are allowed"
        );
        drop(client);
        assert_eq!(server.join().unwrap(), []);
    });
}
