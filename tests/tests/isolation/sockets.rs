//! Unix sockets of the host and of other leases.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use zyg_tests::{Probe, Server};
use zygote_client::LeaseOptions;

const CONNECT: &str = "socket.socket(socket.AF_UNIX).connect(address)";

const LISTEN: &str = "
listener = socket.socket(socket.AF_UNIX)
listener.bind(address)
listener.listen()
say('ready')
sys.stdin.read()
";

#[test]
fn abstract_sockets_are_the_leases_own() {
    let server = Server::start();
    let client = server.client();
    let (one, two) = (client.lease().unwrap(), client.lease().unwrap());
    let name = format!("zyg-test-{}", std::process::id());
    let probe = Probe::new().with("address", format!("\0{name}"));
    let host = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    assert_eq!(probe.one_outside(CONNECT), "ok");
    assert_eq!(probe.one_inside(&one, CONNECT), "ECONNREFUSED");
    // The name is free inside, in each lease.
    let (_one, _) = probe.resident(&one, LISTEN);
    assert_eq!(probe.one_inside(&one, CONNECT), "ok");
    assert_eq!(probe.one_inside(&two, CONNECT), "ECONNREFUSED");
    let (_two, _) = probe.resident(&two, LISTEN);
    drop(host);
    assert_eq!(probe.one_outside(CONNECT), "ECONNREFUSED");
}

#[test]
fn sockets_of_the_host_in_private_places_are_hidden() {
    let server = Server::start();
    let client = server.client();
    let lease = client.lease().unwrap();
    for place in ["/tmp", "/var/tmp", "/dev/shm", "/run"] {
        let Ok(directory) = tempfile::Builder::new().prefix("zyg-test-").tempdir_in(place) else {
            // Only root may write there: shown by the test as root.
            assert!(!zyg_tests::is_root() && place == "/run", "{place} cannot be written");
            continue;
        };
        let path = directory.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let probe = Probe::new().with_path("address", &path);
        assert_eq!(probe.one_outside(CONNECT), "ok");
        assert_eq!(probe.one_inside(&lease, CONNECT), "ENOENT");
        // The control: a bind shows it, and it answers.
        let mut options = LeaseOptions::new();
        let shown = client.acquire(options.bind(directory.path(), directory.path())).unwrap();
        assert_eq!(probe.one_inside(&shown, CONNECT), "ok");
    }
}

#[test]
fn the_servers_own_socket_is_hidden() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let connect = "socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(address)";
    let probe = Probe::new().with_path("address", server.socket());
    assert_eq!(probe.one_outside(connect), "ok");
    assert_eq!(probe.one_inside(&lease, connect), "ENOENT");
}

#[test]
fn a_socket_below_a_layered_home_does_not_answer() {
    // Connecting to a socket needs no writable mount, so a read-only view alone would let it
    // through (unix(7)); an overlay's inode is not the one that the host has bound.
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let home = zygote::users::with_uid(nix::unistd::getuid().as_raw()).unwrap().home;
    let directory = tempfile::Builder::new().prefix(".zyg-test-").tempdir_in(home).unwrap();
    let path = directory.path().join("s");
    let _listener = UnixListener::bind(&path).unwrap();
    let probe = Probe::new().with_path("address", &path);
    assert_eq!(probe.one_outside(CONNECT), "ok");
    assert_eq!(probe.one_inside(&lease, CONNECT), "ECONNREFUSED");
}
