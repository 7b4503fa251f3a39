use super::*;
use std::os::unix::net::UnixListener;
use tempfile::TempDir;

fn places(directory: &TempDir) -> Places {
    Places {
        named: None,
        system: directory.path().join("system.sock"),
        private: directory.path().join("private"),
    }
}

fn listen_at(path: &Path) -> OwnedFd {
    start::listening_socket(path).unwrap()
}

#[test]
fn a_missing_server_is_reported_with_what_to_do() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("none.sock");
    let error = Connector::new().socket(&path).connect().unwrap_err();
    let shown = path.display();
    let expected =
        format!("no server listens at {shown}: start one with `zyg serve --socket {shown}`");
    assert_eq!(error.to_string(), expected);

    let named = Places { named: Some(path), ..places(&directory) };
    let error = Connector::new().places(named).connect().unwrap_err();
    assert_eq!(error.to_string(), expected + " or unset ZYG_SOCKET");
}

#[test]
fn a_socket_that_is_left_over_is_told_from_none() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("stale.sock");
    drop(listen_at(&path));
    let error = Client::connect(&path).unwrap_err();
    assert!(matches!(error, ConnectError::Stale { named: Named::Caller, .. }), "{error}");
}

#[test]
fn what_is_not_zygs_socket_is_told_so() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Client::connect(&path), Err(ConnectError::NotASocket(_))));
    assert!(matches!(Client::connect(directory.path()), Err(ConnectError::NotASocket(_))));

    let path = directory.path().join("stream.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    assert!(matches!(Client::connect(&path), Err(ConnectError::NotZyg(_))));

    let path = directory.path().join("x".repeat(200));
    assert!(matches!(Client::connect(&path), Err(ConnectError::PathTooLong(_))));
}

#[test]
fn the_system_socket_is_preferred_to_the_private_one() {
    let directory = TempDir::new().unwrap();
    let places = places(&directory);
    let _system = listen_at(&places.system);
    let connected = Connector::new().places(places.clone()).find().unwrap();
    assert!(connected.log.is_none());
    assert!(!places.private.exists(), "nothing private is touched");
}

#[test]
fn without_a_system_server_the_private_one_is_used() {
    let directory = TempDir::new().unwrap();
    let places = places(&directory);
    drop(listen_at(&places.system));
    nix::unistd::mkdir(&places.private, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _private = listen_at(&private_socket(&places.private));
    let connected = Connector::new().places(places.clone()).find().unwrap();
    assert_eq!(connected.log, Some(places.private.join("server.log")));
}

#[test]
fn a_named_server_is_the_only_one_tried() {
    let directory = TempDir::new().unwrap();
    let mut places = places(&directory);
    let _system = listen_at(&places.system);
    places.named = Some(directory.path().join("none.sock"));
    let error = Connector::new().places(places).connect().unwrap_err();
    assert!(matches!(error, ConnectError::Missing { named: Named::Environment, .. }));
}

#[test]
fn a_runtime_directory_of_somebody_else_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let uid = Uid::effective();
    let of = |path: &Path, uid| private_directory(Some(path.into()), uid);
    let fallback = PathBuf::from(format!("/tmp/zyg-{uid}"));
    assert_eq!(of(directory.path(), uid), directory.path().join("zyg"));
    assert_eq!(of(&directory.path().join("none"), uid), fallback);
    assert_eq!(of(Path::new("."), uid), fallback);
    assert_eq!(private_directory(None, uid), fallback);
    let other = Uid::from_raw(uid.as_raw() + 1);
    assert_eq!(of(directory.path(), other), PathBuf::from(format!("/tmp/zyg-{other}")));
}
