//! A network of its own: `lo`, up, and nothing else.

use std::net::{TcpListener, TcpStream};
use zyg_tests::{Probe, Refused, Server};

const ECHO: &str = "
listener = socket.create_server((host, port), family=family)
say(str(listener.getsockname()[1]))
while True:
    connection, _ = listener.accept()
    connection.sendall(b'hello')
    connection.close()
";

const HEAR: &str = "
connection = socket.create_connection((host, port))
assert connection.recv(9) == b'hello'
";

fn probe(host: &str, port: u16) -> Probe {
    let family = if host.contains(':') { nix::libc::AF_INET6 } else { nix::libc::AF_INET };
    Probe::new().with("host", host).with("port", port).with("family", family)
}

#[test]
fn loopback_is_up_and_the_only_device() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let devices = "result = [name for _, name in socket.if_nameindex()]";
    assert_eq!(Probe::new().one_inside(&lease, devices), "['lo']");
    let addresses = if ipv6() { vec!["127.0.0.1", "127.1.2.3", "::1"] } else { vec!["127.0.0.1"] };
    for (index, host) in addresses.into_iter().enumerate() {
        let probe = probe(host, 9000 + index as u16);
        let (_echo, _) = probe.resident(&lease, ECHO);
        assert_eq!(probe.one_inside(&lease, HEAR), "ok", "{host}");
    }
}

fn ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn two_leases_bind_the_same_ports_and_low_ones_too() {
    let server = Server::start();
    let client = server.client();
    let leases = [client.lease().unwrap(), client.lease().unwrap()];
    let mut residents = Vec::new();
    for port in [8080, 80, 1] {
        for lease in &leases {
            let (echo, bound) = probe("127.0.0.1", port).resident(lease, ECHO);
            assert_eq!(bound, port.to_string());
            residents.push(echo);
        }
        // The control: in one lease the port is taken.
        let again = probe("127.0.0.1", port)
            .one_inside(&leases[0], "socket.create_server((host, port), reuse_port=False)");
        assert_eq!(again, "EADDRINUSE");
    }
}

#[test]
fn loopback_of_the_host_and_of_an_environment_do_not_meet() {
    let server = Server::start();
    let client = server.client();
    let lease = client.lease().unwrap();
    for host in if ipv6() { vec!["127.0.0.1", "::1"] } else { vec!["127.0.0.1"] } {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(probe(host, port).one_inside(&lease, HEAR), "ECONNREFUSED");
        TcpStream::connect((host, port)).expect("the control");

        let free = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
        let inner = probe(host, free);
        let (_echo, _) = inner.resident(&lease, ECHO);
        assert_eq!(inner.one_inside(&lease, HEAR), "ok", "the control");
        assert_eq!(
            TcpStream::connect((host, free)).unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
        assert_eq!(inner.one_inside(&client.lease().unwrap(), HEAR), "ECONNREFUSED");
    }
}

#[test]
fn no_other_network_is_reachable() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let own = "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9))";
    let refused = |act, code, inside| Refused { act, code, inside, control: own };
    let rows = [
        refused(
            "a public address",
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('192.0.2.1', 9))",
            &["ENETUNREACH"],
        ),
        refused(
            "broadcast",
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); s.sendto(b'x', ('255.255.255.255', 9))",
            &["ENETUNREACH"],
        ),
        refused(
            "a raw socket",
            "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
            &["EPERM", "EACCES"],
        ),
        refused(
            "a packet socket",
            "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
            &["EPERM", "EAFNOSUPPORT"],
        ),
        refused(
            "the hypervisor",
            "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
            &["EAFNOSUPPORT"],
        ),
        refused(
            "the kernel's ciphers",
            "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
            &["EAFNOSUPPORT"],
        ),
    ];
    Probe::new().assert_refused(&lease, &rows);
}

#[test]
fn the_network_cannot_be_reconfigured() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    // SIOCSIFFLAGS: `lo` down.
    let down = "import fcntl, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', 0))";
    let up = "import fcntl, struct
nest(CLONE_NEWNET)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', 1))";
    let probe = Probe::new();
    assert_eq!(probe.one_inside(&lease, down), "EPERM");
    assert_eq!(probe.one_inside(&lease, up), "ok", "the control: in a network of its own");
    // Another user namespace gives no right over the network that the lease was given.
    let nested = down.replace("import fcntl, struct\n", "import fcntl, struct\nnest()\n");
    assert_eq!(probe.one_inside(&lease, &nested), "EPERM");
}
