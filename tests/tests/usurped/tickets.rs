//! The answer to what another template was asked is not believed: nobody's mount sources come from
//! somebody else's template.

use crate::usurper::{OTHER_USER, Scene, is_readable, template_of, user};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use zyg_protocol::message::{Acquire, Bytes, Failure, FromTemplate, Mount, Reply, Request, Step};
use zyg_tests::{connect_as, is_root};

/// Far beyond what one small server has given out.
const TICKETS: u64 = 2_000;

fn refusal() -> Failure {
    Failure { step: Step::OpenTree, errno: Errno::EACCES as i32, subject: Bytes::new() }
}

#[test]
fn a_source_is_opened_by_ones_own_template_alone() {
    let planted = tempfile::tempdir().unwrap();
    let planted = File::open(planted.path()).unwrap();
    Scene::new().play(&[("tickets of others", &|usurper| {
        let (uid, other) = if is_root() {
            (OTHER_USER, connect_as(OTHER_USER, usurper.server.socket()))
        } else {
            (user(), connect_as(user(), usurper.server.socket()))
        };
        let template = template_of(usurper.server, "default", uid);
        kill(template, Signal::SIGSTOP).unwrap();
        let mount = Mount::Bind {
            source: b"/usr".to_vec().into(),
            target: b"/mnt".to_vec().into(),
            read_only: true,
        };
        let asked = Acquire { request: 5, mounts: vec![mount], ..Acquire::default() };
        other.say(&Request::Acquire(asked));
        // The server has heard it.
        other.say(&Request::Status { request: 6 });
        assert!(matches!(other.reply(), Some(Reply::Status { .. })));
        for ticket in 0..TICKETS {
            usurper.link.say_with(&FromTemplate::Opened { ticket }, &[planted.as_fd()]);
            usurper.say(&FromTemplate::OpenFailed { ticket, failure: refusal() });
        }
        // The usurper's own answers are heard in their order, so all of these have been.
        let (_, ticket) = usurper.ask_for_bind("/asked");
        usurper.say(&FromTemplate::OpenFailed { ticket, failure: refusal() });
        assert!(
            crate::usurper::answer(&usurper.client).is_err(),
            "the control: his own he answers"
        );
        assert!(!is_readable(&other), "somebody was answered by a template not his own");
        kill(template, Signal::SIGCONT).unwrap();
        let lease = other.take_lease();
        let tree = nix::sys::stat::fstat(&lease.trees[0]).unwrap();
        let usr = fs::metadata("/usr").unwrap();
        assert_eq!((tree.st_ino, tree.st_mode & libc::S_IFMT), (usr.ino(), libc::S_IFDIR));
    })]);
}
