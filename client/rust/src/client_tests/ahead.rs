//! Leases that are handed out before what was asked for is in place.

use super::*;

/// Grants an environment in which a layer is to be made, and hears that it is.
fn grant(server: &Peer) -> Granting {
    let granting = server.grant(vec![Attach::Cover { target: Bytes::from(&b"/x"[..]) }]);
    let Some((ToInit::Prepare(_), _)) = granting.init.hear() else { panic!("no prepare") };
    granting
}

/// The same, and no layer can be made.
pub fn grant_in_vain(server: &Peer) -> Granting {
    let granting = grant(server);
    let failure = Failure { step: Step::Layer, errno: 22, subject: Bytes::new() };
    granting.init.say(&FromInit::PrepareFailed(failure), &[]);
    granting
}

#[test]
fn a_command_may_be_sent_ahead_of_what_is_prepared() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            let granting = grant(&server);
            let (exec, _) = granting.init.hear_exec();
            let read_only = vec![Bytes::from(&b"/x"[..])];
            granting.init.say(&FromInit::Prepared { read_only }, &[]);
            granting.init.start(&exec);
            granting.init.exit(exec.command, 0);
            granting
        });
        let lease = client.acquire_ahead(&LeaseOptions::new()).unwrap();
        assert!(lease.read_only().is_empty(), "not known yet");
        assert!(lease.command("true").status().unwrap().success());
        lease.prepared().unwrap();
        assert_eq!(lease.read_only(), [Path::new("/x")]);
        lease.prepared().unwrap();
        server.join().unwrap();
    });
}

#[test]
fn why_nothing_could_be_prepared_is_told_as_often_as_it_is_asked() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| grant_in_vain(&server));
        let lease = client.acquire_ahead(&LeaseOptions::new()).unwrap();
        for _ in 0..2 {
            let error = lease.prepared().unwrap_err();
            assert!(matches!(error, AcquireError::Prepare(Failure { step: Step::Layer, .. })));
        }
        drop(server.join().unwrap());
    });
}

#[test]
fn an_environment_that_ends_before_it_is_prepared_says_so() {
    std::thread::scope(|scope| {
        let (client, server) = play(scope, |server| {
            drop(grant(&server));
        });
        let lease = client.acquire_ahead(&LeaseOptions::new()).unwrap();
        server.join().unwrap();
        for _ in 0..2 {
            let error = lease.prepared().unwrap_err();
            assert!(matches!(error, AcquireError::Lease(LeaseError::Ended)), "{error:?}");
        }
    });
}
