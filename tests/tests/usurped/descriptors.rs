//! What rides along with the messages of a template and its zygotes: too few, too many, and of every other kind. The server
//! keeps none of it.

use crate::usurper::{Act, Order, Scene, Usurper, answer, is_readable};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use zyg_protocol::codec::Message;
use zyg_protocol::message::{Denial, FromTemplate, Lifeline};
use zyg_protocol::socket::pair;
use zyg_tests::{Raw, bytes_of, eventually};

/// The most that one message can carry (`SCM_MAX_FD`, unix(7)).
const KERNEL_MAX: usize = 253;

const READY: Lifeline = Lifeline::Ready { spawn_us: 1 };

/// Sends as many descriptors as the kernel takes, more than the wire's own functions would.
fn say_with_many(to: &Raw, message: &impl Message, count: usize) {
    let null = File::open("/dev/null").unwrap();
    let numbers = vec![null.as_raw_fd(); count];
    let rights = [ControlMessage::ScmRights(&numbers)];
    let bytes = bytes_of(message);
    let (to, flags) = (to.as_fd().as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
    match sendmsg::<UnixAddr>(to, &[IoSlice::new(&bytes)], &rights, flags, None) {
        Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => {}
        Err(errno) => panic!("failed to send {count} descriptors: {errno}"),
    }
}

#[test]
fn a_zygote_comes_with_two_descriptors() {
    let acts: Vec<_> = [0, 1, 3, 4, 64]
        .map(|count| {
            move |usurper: &Usurper<'_>| {
                let Order { slot, lifeline } = usurper.order();
                say_with_many(&lifeline, &READY, count);
                usurper.assert_condemned(slot);
                assert!(!is_readable(&usurper.client), "granted");
            }
        })
        .into();
    let acts: Vec<Act<'_>> = acts.iter().map(|act| ("a wrong number", act as _)).collect();
    Scene::new().play(&acts);
}

#[test]
fn more_than_a_message_may_carry_are_none() {
    let spawned = |count| {
        move |usurper: &Usurper<'_>| {
            let Order { lifeline, .. } = usurper.order();
            say_with_many(&lifeline, &READY, count);
            lifeline.assert_closed::<Lifeline>();
            assert!(!is_readable(&usurper.client), "granted");
        }
    };
    let opened = |count| {
        move |usurper: &Usurper<'_>| {
            let (_, ticket) = usurper.ask_for_bind("/asked");
            say_with_many(&usurper.link, &FromTemplate::Opened { ticket }, count);
            assert!(matches!(answer(&usurper.client), Err(Denial::BuildFailing { .. })));
        }
    };
    let acts: &[Act<'_>] = &[
        ("65 with a zygote", &spawned(65)),
        ("253 with a zygote", &spawned(KERNEL_MAX)),
        ("65 with a source", &opened(65)),
        ("253 with a source", &opened(KERNEL_MAX)),
    ];
    Scene::new().play(acts);
}

#[test]
fn descriptors_belong_to_zygotes_and_sources_alone() {
    let null = File::open("/dev/null").unwrap();
    let with_one = |message: FromTemplate| {
        let null = null.as_fd();
        move |usurper: &Usurper<'_>| {
            usurper.link.say_with(&message, &[null]);
            usurper.assert_cast_out();
        }
    };
    let acts: &[Act<'_>] = &[
        ("with the end of nothing", &with_one(FromTemplate::Gone { slot: 1 })),
        (
            "with a refusal that nobody asked for",
            &with_one(FromTemplate::OpenFailed {
                ticket: 1,
                failure: zyg_protocol::message::Failure {
                    step: zyg_protocol::message::Step::OpenTree,
                    errno: 1,
                    subject: Vec::new().into(),
                },
            }),
        ),
        ("without a byte", &|usurper| {
            usurper.link.send(&[], &[null.as_fd()]);
            usurper.assert_cast_out();
        }),
    ];
    Scene::new().play(acts);
}

/// One of each kind that could be taken for another, and might make whoever uses it wait.
fn kinds() -> Vec<(&'static str, OwnedFd)> {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("s")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    vec![
        ("a file", tempfile::tempfile().unwrap().into()),
        ("a directory", File::open("/").unwrap().into()),
        ("a device", File::open("/dev/zero").unwrap().into()),
        ("the end of a pipe", reader.into()),
        ("the other end of it", writer.into()),
        ("a stream", UnixStream::pair().unwrap().0.into()),
        ("a listener", listener.into()),
        ("an epoll", Epoll::new(EpollCreateFlags::empty()).unwrap().0),
        ("an event", EventFd::new().unwrap().into()),
        ("a part of /proc", File::open("/proc/self/status").unwrap().into()),
        ("itself", zygote::process_descriptor(nix::unistd::getpid()).unwrap()),
    ]
}

#[test]
fn a_process_and_a_channel_of_any_kind_are_their_clients_own_trouble() {
    let kinds = kinds();
    let acts: Vec<_> = kinds
        .iter()
        .map(|(name, kind)| {
            let act = move |usurper: &Usurper<'_>| {
                let Order { lifeline, .. } = usurper.order();
                lifeline.say_with(&READY, &[kind.as_fd(); 2]);
                drop(answer(&usurper.client).unwrap());
                // Another one is never granted, and is left when its template ends.
                let Order { lifeline, .. } = usurper.unwanted_order();
                lifeline.say_with(&READY, &[kind.as_fd(); 2]);
                eventually("a warm zygote", || (usurper.pool().warm == 1).then_some(()));
            };
            (*name, act)
        })
        .collect();
    let acts: Vec<Act<'_>> = acts.iter().map(|(name, act)| (*name, act as _)).collect();
    Scene::new().play(&acts);
}

#[test]
fn a_source_of_any_kind_is_its_clients_own_trouble() {
    let kinds = kinds();
    let open = |usurper: &Usurper<'_>, riding: &[BorrowedFd<'_>]| {
        let (_, ticket) = usurper.ask_for_bind("/asked");
        usurper.link.say_with(&FromTemplate::Opened { ticket }, riding);
    };
    let acts: Vec<_> = kinds
        .iter()
        .map(|(name, kind)| {
            let act = move |usurper: &Usurper<'_>| {
                for count in [0, 2, 64] {
                    open(usurper, &vec![kind.as_fd(); count]);
                    let denied = answer(&usurper.client);
                    assert!(matches!(denied, Err(Denial::BuildFailing { .. })), "{denied:?}");
                }
                // The right number of the wrong thing is for its own client, whose init refuses it.
                open(usurper, &[kind.as_fd()]);
                let (_channel, theirs) = pair().unwrap();
                let Order { lifeline, .. } = usurper.next_order();
                let riding = [theirs.as_fd(), usurper.standins.pidfds[0].as_fd()];
                lifeline.say_with(&READY, &riding);
                assert_eq!(answer(&usurper.client).unwrap().trees.len(), 1);
            };
            (*name, act)
        })
        .collect();
    let acts: Vec<Act<'_>> = acts.iter().map(|(name, act)| (*name, act as _)).collect();
    Scene::new().play(&acts);
}
