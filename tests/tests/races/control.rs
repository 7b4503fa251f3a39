//! The control for all of this: whoever looks first and opens then is beaten by the same exchange.

use crate::place::{ALLOWED, FORBIDDEN};
use crate::swapper::Swapper;
use std::fs;
use std::os::unix::fs::symlink;
use zyg_tests::eventually;

#[test]
fn who_checks_a_path_and_opens_it_then_gets_what_is_forbidden() {
    let directory = tempfile::Builder::new().prefix("zyg-race-").tempdir_in("/var/tmp").unwrap();
    let (allowed, secret) = (directory.path().join("allowed"), directory.path().join("secret"));
    for (place, content) in [(&allowed, ALLOWED), (&secret, FORBIDDEN)] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("file"), content).unwrap();
    }
    let link = directory.path().join("link");
    symlink(&secret, &link).unwrap();
    let _swapper = Swapper::start(&allowed, &link);
    eventually("the deputy's defeat", || {
        (0..1_000).find_map(|_| {
            let checked = fs::symlink_metadata(&allowed).unwrap();
            // A directory, no link: so it is the one that is allowed.
            let opened = checked.is_dir().then(|| fs::read_to_string(allowed.join("file")));
            opened.filter(|content| content.as_ref().is_ok_and(|content| content == FORBIDDEN))
        })
    })
    .unwrap();
}
