//! What is asked of the server itself: reservations, and its end.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn a_reservation_is_asked_for_and_answered_with_what_is_kept() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let mut heard = Vec::new();
            while let Some((Request::Reserve { request, profile, count, ttl_ms }, _)) =
                server.hear()
            {
                heard.push((profile, count, ttl_ms));
                server.say(&Reply::Reserved { request, floor: count.min(64) }, &[]);
            }
            heard
        });
        assert_eq!(client.reserve(Some("strict"), 100, MINUTE).unwrap(), 64);
        assert_eq!(client.reserve(None, 0, Duration::from_nanos(1)).unwrap(), 0);
        assert_eq!(client.reserve(None, 7, DAY).unwrap(), 7);
        drop(client);
        let named = Some("strict".to_owned());
        let expected = [(named, 100, 60_000), (None, 0, 1), (None, 7, 86_400_000)];
        assert_eq!(server.join().unwrap(), expected);
    });
}

#[test]
fn what_cannot_be_reserved_says_why() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let Some((Request::Reserve { request, .. }, _)) = server.hear() else {
                panic!("no reservation")
            };
            server.deny(request, Denial::Draining);
            server.hear_all()
        });
        let error = client.reserve(None, 1, MINUTE).unwrap_err();
        assert!(matches!(error, ReserveError::Denied(Denial::Draining)), "{error}");
        let error = client.reserve(None, 1, DAY + Duration::from_nanos(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a reservation lasts 24 hours at most, not 86400 s: for longer, raise the profile's \
             `min` (`[profile.NAME.pool]`)"
        );
        let error = client.reserve(Some(&"p".repeat(65)), 1, MINUTE).unwrap_err();
        assert!(error.to_string().starts_with("the profile's name is 65 bytes"), "{error}");
        drop(client);
        assert_eq!(server.join().unwrap(), [], "nothing more was asked");
    });
}

#[test]
fn a_drain_is_waited_for_and_says_what_it_came_to() {
    std::thread::scope(|scope| {
        for (timeout, timeout_ms) in [(None, None), (Some(MINUTE), Some(60_000))] {
            let (client, server) = play(scope, move |server| {
                let Some((Request::Drain { request, timeout_ms: asked }, _)) = server.hear() else {
                    panic!("no drain")
                };
                assert_eq!(asked, timeout_ms);
                server.say(&Reply::Drained { request, ended: 2, stuck: 1 }, &[]);
            });
            assert_eq!(client.drain(timeout).unwrap(), Drained { ended: 2, stuck: 1 });
            server.join().unwrap();
        }
    });
}

#[test]
fn a_drain_that_is_not_answered_is_an_error() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let Some((Request::Drain { request, .. }, _)) = server.hear() else { panic!("drain") };
            server.deny(request, Denial::NotYours { uid: 5, serves: 0 });
            drop(server.hear::<Request>());
        });
        let error = client.drain(None).unwrap_err();
        assert!(matches!(error, DrainError::Denied(Denial::NotYours { .. })), "{error}");
        let error = client.drain(Some(DAY * 2)).unwrap_err();
        assert!(matches!(error, DrainError::TooLong(_)), "{error}");
        let error = client.drain(None).unwrap_err();
        assert_eq!(error.to_string(), "the server closed the session");
        server.join().unwrap();
    });
}

/// Who has left has nothing to drain, and none is started to be drained.
#[test]
fn a_drain_never_goes_to_another_server() {
    let place = TempDir::new().unwrap();
    let private = place.path().join("private");
    nix::unistd::mkdir(&private, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let listening = UnixListener::from(listening_socket(&private_socket(&private)).unwrap());
    let places = Places { named: None, system: place.path().join("none"), private };
    let client = Connector::new().places(places).connect().unwrap();
    drop(listening.accept().unwrap());
    let error = client.drain(None).unwrap_err();
    assert_eq!(error.to_string(), "the server closed the session");
    listening.set_nonblocking(true).unwrap();
    assert_eq!(listening.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn an_answer_of_another_kind_is_malformed() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            for _ in 0..3 {
                match server.hear() {
                    Some((Request::AcquireMany { acquire, .. }, _)) => {
                        let request = acquire.request;
                        server.say(&Reply::Drained { request, ended: 0, stuck: 0 }, &[]);
                    }
                    Some((
                        Request::Reserve { request, .. } | Request::Drain { request, .. },
                        _,
                    )) => {
                        server.say(&Reply::Status { request, status: Status::default() }, &[]);
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        let told = [
            client.reserve(None, 1, MINUTE).unwrap_err().to_string(),
            client.drain(None).unwrap_err().to_string(),
            client.acquire_many(&LeaseOptions::new(), 1).unwrap_err().to_string(),
        ];
        for (told, kind) in told.iter().zip(["status", "status", "end of a drain"]) {
            assert!(told.ends_with(&format!("a {kind} does not answer this request")), "{told}");
        }
        server.join().unwrap();
    });
}
