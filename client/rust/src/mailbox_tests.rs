use super::*;
use crate::channel::Answer;
use std::time::Duration;
use zyg_protocol::codec::encode;
use zyg_protocol::message::{ExitStatus, FromInit, Usage};

type Inbox = Mailbox<FromInit>;

fn connected() -> (Arc<Inbox>, OwnedFd) {
    let (ours, theirs) = socket::pair().unwrap();
    (Mailbox::new(ours), theirs)
}

fn started(command: u32) -> FromInit {
    FromInit::Started { command, pid: command + 100 }
}

fn exited(command: u32) -> FromInit {
    FromInit::Exited { command, status: ExitStatus::Code(0), usage: Usage::default() }
}

fn say(peer: &OwnedFd, message: &FromInit, descriptors: &[BorrowedFd<'_>]) {
    let mut buffer = Vec::new();
    encode(message, &mut buffer).unwrap();
    socket::send(peer.as_fd(), &buffer, descriptors).unwrap();
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(20))
}

#[test]
fn messages_out_of_order_reach_whoever_awaits_them() {
    let (inbox, peer) = connected();
    let mut first = inbox.expect(Answer::Start(1));
    let mut second = inbox.expect(Answer::Start(2));
    let mut end = inbox.expect(Answer::End(1));
    say(&peer, &exited(1), &[]);
    say(&peer, &started(2), &[]);
    say(&peer, &started(1), &[]);
    assert_eq!(first.wait().unwrap().message, started(1));
    assert_eq!(second.wait().unwrap().message, started(2));
    assert_eq!(end.wait().unwrap().message, exited(1));
}

#[test]
fn each_of_many_threads_gets_its_own_messages_in_any_order() {
    const THREADS: u32 = 8;
    const COMMANDS: u32 = 50;
    let (inbox, peer) = connected();
    let mut awaited: Vec<Vec<_>> = Vec::new();
    for thread in 0..THREADS {
        let numbers = (0..COMMANDS).map(|command| thread * COMMANDS + command);
        awaited.push(numbers.map(|number| (number, inbox.expect(Answer::Start(number)))).collect());
    }
    std::thread::scope(|scope| {
        for commands in awaited {
            scope.spawn(move || {
                for (number, mut answer) in commands {
                    assert_eq!(answer.wait().unwrap().message, started(number));
                }
            });
        }
        // A stride that is coprime to the count visits each number once, far from the last one.
        for index in 0..THREADS * COMMANDS {
            say(&peer, &started(index * 151 % (THREADS * COMMANDS)), &[]);
        }
    });
}

#[test]
fn a_leader_that_gives_up_leaves_no_follower_behind() {
    for _ in 0..20 {
        let (inbox, peer) = connected();
        let mut impatient = inbox.expect(Answer::Start(1));
        let mut patient = inbox.expect(Answer::Start(2));
        std::thread::scope(|scope| {
            let patient = scope.spawn(move || patient.wait().unwrap().message);
            assert!(impatient.wait_until(soon()).unwrap().is_none());
            say(&peer, &started(2), &[]);
            assert_eq!(patient.join().unwrap(), started(2));
        });
    }
}

#[test]
fn a_leader_with_its_own_message_hands_the_reading_on() {
    for _ in 0..200 {
        let (inbox, peer) = connected();
        let mut first = inbox.expect(Answer::Start(1));
        let mut second = inbox.expect(Answer::Start(2));
        std::thread::scope(|scope| {
            let first = scope.spawn(move || first.wait().unwrap().message);
            let second = scope.spawn(move || second.wait().unwrap().message);
            say(&peer, &started(1), &[]);
            assert_eq!(first.join().unwrap(), started(1));
            say(&peer, &started(2), &[]);
            assert_eq!(second.join().unwrap(), started(2));
        });
    }
}

#[test]
fn a_deadline_that_is_past_still_looks_once() {
    let (inbox, peer) = connected();
    let mut answer = inbox.expect(Answer::Start(1));
    assert!(answer.wait_until(Some(Instant::now())).unwrap().is_none());
    say(&peer, &started(1), &[]);
    assert!(answer.wait_until(Some(Instant::now())).unwrap().is_some());
}

#[test]
fn the_end_reaches_every_waiter_present_and_to_come() {
    let (inbox, peer) = connected();
    let mut waiters: Vec<_> = (0..4).map(|number| inbox.expect(Answer::Start(number))).collect();
    std::thread::scope(|scope| {
        for waiter in &mut waiters {
            scope.spawn(move || assert!(matches!(waiter.wait(), Err(Ended::Closed))));
        }
        drop(peer);
    });
    assert!(matches!(inbox.expect(Answer::Start(9)).wait(), Err(Ended::Closed)));
    assert!(!inbox.answered());
}

#[test]
fn what_came_before_the_end_is_still_handed_out() {
    let (inbox, peer) = connected();
    let mut end = inbox.expect(Answer::End(1));
    let mut other = inbox.expect(Answer::End(2));
    say(&peer, &exited(1), &[]);
    // Unread by the peer: its leaving is then a reset, not a plain end of file.
    inbox.send(b"unread", &[]).unwrap();
    drop(peer);
    assert!(matches!(other.wait(), Err(Ended::Closed)));
    assert_eq!(end.wait().unwrap().message, exited(1));
    assert!(inbox.answered());
    inbox.send(b"into the void", &[]).unwrap();
}

#[test]
fn what_nobody_awaits_is_not_kept() {
    let (inbox, peer) = connected();
    drop(inbox.expect(Answer::End(1)));
    let (observer, passed) = socket::pair().unwrap();
    say(&peer, &FromInit::Started { command: 5, pid: 1 }, &[passed.as_fd()]);
    drop(passed);
    say(&peer, &exited(1), &[]);
    say(&peer, &started(2), &[]);
    assert_eq!(inbox.expect(Answer::Start(2)).wait().unwrap().message, started(2));
    // Its descriptor is closed too: the other side of it has reached its end.
    assert_eq!(socket::receive(observer.as_fd(), &mut [0; 1]).unwrap().bytes, 0);
}

#[test]
fn hostile_bytes_end_the_conversation_with_the_broken_rule() {
    let mut other_version = Vec::new();
    encode(&started(1), &mut other_version).unwrap();
    other_version[4..6].copy_from_slice(&7_u16.to_le_bytes());
    let long = vec![0; MESSAGE_BYTES_MAX + 1];
    for (bytes, expected) in [
        (&b"x"[..], "Malformed"),
        (&[0; 64], "magic"),
        (&long, "longer than"),
        (&other_version, "Version(7)"),
    ] {
        let (inbox, peer) = connected();
        let mut answer = inbox.expect(Answer::Start(1));
        socket::send(peer.as_fd(), bytes, &[]).unwrap();
        say(&peer, &started(1), &[]);
        let ended = format!("{:?}", answer.wait().unwrap_err());
        assert!(ended.contains(expected), "{ended} does not say {expected}");
        let again = format!("{:?}", inbox.expect(Answer::Start(2)).wait().unwrap_err());
        assert_eq!(again, ended);
    }
}

#[test]
fn surplus_descriptors_and_second_answers_are_malformed() {
    let (inbox, peer) = connected();
    let mut answer = inbox.expect(Answer::End(1));
    say(&peer, &exited(1), &[peer.as_fd()]);
    assert!(matches!(answer.wait(), Err(Ended::Malformed(_))));

    let (inbox, peer) = connected();
    let mut answer = inbox.expect(Answer::Start(1));
    let mut other = inbox.expect(Answer::Start(2));
    say(&peer, &started(1), &[]);
    say(&peer, &started(1), &[]);
    assert!(matches!(other.wait(), Err(Ended::Malformed(_))));
    assert_eq!(answer.wait().unwrap().message, started(1));
}

#[test]
fn a_socket_that_does_not_block_is_waited_for_all_the_same() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (inbox, peer) = connected();
    fcntl(inbox.socket(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut answer = inbox.expect(Answer::Start(1));
    std::thread::scope(|scope| {
        scope.spawn(move || assert_eq!(answer.wait().unwrap().message, started(1)));
        say(&peer, &started(1), &[]);
    });
}

#[test]
fn messages_that_were_announced_together_come_in_their_own_order() {
    let (inbox, peer) = connected();
    let mut one = inbox.expect(Answer::Start(9));
    let mut many = inbox.expect_all(Answer::Start(1), (2..=3).map(Answer::Start));
    for number in [3, 9, 1, 2] {
        say(&peer, &started(number), &[]);
    }
    // Filed by whoever leads.
    assert_eq!(one.wait().unwrap().message, started(9));
    for number in [3, 1, 2] {
        assert_eq!(many.wait().unwrap().message, started(number));
    }
    assert!(many.wait_until(soon()).unwrap().is_none());
}

#[test]
fn what_was_announced_together_and_is_given_up_is_not_kept() {
    let (inbox, peer) = connected();
    drop(inbox.expect_all(Answer::Start(1), (2..=3).map(Answer::Start)));
    let desk = inbox.desk();
    assert!(desk.trays.is_empty() && desk.sharing.is_empty());
    drop(desk);
    let mut end = inbox.expect(Answer::End(1));
    say(&peer, &started(2), &[]);
    say(&peer, &exited(1), &[]);
    assert_eq!(end.wait().unwrap().message, exited(1));
}
