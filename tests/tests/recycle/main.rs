//! A network namespace is used again if it tells what a new one tells, and never otherwise; and so is a
//! zygote as a whole ([`whole`]).
//!
//! A namespace is known by its cookie (`SO_NETNS_COOKIE`, Linux 5.14), which never comes again, unlike
//! the number of its inode.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod whole;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::net::UnixListener;
use zyg_tests::{PATIENCE, Probe, Server, Setup, eventually};
use zygote_client::{Client, Fate, LeaseOptions};

const STOCK: &str = "zyg-stock";

/// Network namespaces in stock (`STOCK_MAX` in zygote/src/template/stock.rs).
const STOCK_MAX: usize = 32;

const DEFINITIONS: &str = "
import struct

def cookie():
    one = socket.socket(socket.AF_UNIX)
    return struct.unpack('Q', one.getsockopt(socket.SOL_SOCKET, 71, 8))[0]


def connection():
    listener = socket.create_server(('127.0.0.1', 0))
    one = socket.create_connection(listener.getsockname())
    return one, listener.accept()[0], listener


def label():
    one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    request = socket.inet_pton(socket.AF_INET6, '::1') + struct.pack('!I', 0x54321)
    one.setsockopt(41, 32, request + struct.pack('BBHHHI', 0, 255, 1, 60, 60, 0))


def outside():
    link = socket.socket(socket.AF_UNIX)
    link.connect('/tmp/outside/socket')
    return link


def attempted(act):
    try:
        act()
    except OSError:
        pass
";

/// What leaves nothing.
const QUIET: &[(&str, &str)] = &[
    ("nothing", ""),
    ("a listener", "socket.create_server(('127.0.0.1', 80)).close()"),
    ("a bound socket", "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(('::1', 53))"),
    ("a pair", "one, two = socket.socketpair()\none.send(b'x')"),
    ("an abstract name", "one = socket.socket(socket.AF_UNIX)\none.bind('\\0zyg')\none.listen()"),
    (
        "a netlink socket",
        "one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\none.bind((0, 0))",
    ),
    (
        "a setting that is refused",
        "attempted(lambda: write('/proc/sys/net/ipv4/ip_default_ttl', '9'))",
    ),
];

/// What leaves something behind: in the kernel's account, or alive elsewhere.
const TELLING: &[(&str, &str)] = &[
    ("a connection", "connection()"),
    ("one that is in TIME_WAIT", "one, two, listener = connection()\none.close()\ntwo.close()"),
    ("one that is refused", "attempted(lambda: socket.create_connection(('127.0.0.1', 9)))"),
    (
        "a datagram",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    ),
    (
        "a datagram of IPv6",
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('::1', 9))",
    ),
    (
        "a datagram of UDP-Lite",
        "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)\none.sendto(b'x', ('127.0.0.1', 9))",
    ),
    (
        "a datagram to nowhere",
        "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempted(lambda: one.sendto(b'x', ('192.0.2.1', 9)))",
    ),
    (
        "a route of IPv6 that nothing has gone",
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(('::1', 9))",
    ),
    ("a flow label", "label()"),
    (
        "a key of TCP fast open",
        "one = socket.create_server(('127.0.0.1', 80))\none.setsockopt(6, 23, 5)",
    ),
    (
        "a multicast group",
        "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group = socket.inet_aton('239.1.2.3') + socket.inet_aton('127.0.0.1')
one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)",
    ),
    (
        "a multicast group of IPv6",
        "one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
group = socket.inet_pton(socket.AF_INET6, 'ff15::99') + struct.pack('I', 1)
one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)",
    ),
    ("a connection to outside that nobody takes", "outside().send(b'x')"),
    (
        "a socket that is on its way to outside",
        "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(('127.0.0.1', 80))
socket.send_fds(outside(), [b'x'], [one.fileno()])",
    ),
    (
        "a listener that is on its way to outside",
        "one = socket.create_server(('127.0.0.1', 80))
socket.send_fds(outside(), [b'x'], [one.fileno()])",
    ),
];

/// A server with a directory that all leases are shown, and its client.
struct Fixture {
    server: Server,
    client: Client,
    probe: Probe,
    /// Takes what leases send out, and never looks at it.
    _outside: UnixListener,
}

impl Fixture {
    fn start(config: &str) -> Self {
        let server = Setup::default().config(config).start_warm();
        let outside = UnixListener::bind(server.directory().join("socket")).unwrap();
        let probe = Probe::new().with_definitions(DEFINITIONS);
        Self { client: server.client(), server, probe, _outside: outside }
    }

    /// What comes of an act in a lease of its own.
    fn act(&self, code: &str) -> String {
        let mut options = LeaseOptions::new();
        options.ro_bind(self.server.directory(), "/tmp/outside");
        let lease = self.client.acquire(&options).unwrap();
        let found = self.probe.one_inside(&lease, code);
        lease.release().unwrap();
        found
    }

    /// The same of one that tells the cookie of its namespace.
    fn cookie_after(&self, name: &str, code: &str) -> u64 {
        let found = self.act(&format!("result = cookie()\n{code}"));
        found.parse().unwrap_or_else(|_| panic!("{name}: {found}"))
    }

    /// Takes leases that do nothing until one of them has a namespace that one of them has had.
    fn until_one_is_used_again(&self) {
        let mut seen = BTreeSet::new();
        eventually("a namespace that is used again", || {
            (!seen.insert(self.cookie_after("nothing", ""))).then_some(())
        });
    }

    fn stock(&self) -> Pid {
        eventually("a process that makes network namespaces", || {
            self.server.processes_named(STOCK).first().copied()
        })
    }

    /// How many network namespaces it holds, its own one included.
    fn held(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.stock())).unwrap();
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("net:")).count()
    }
}

#[test]
fn it_is_used_again_if_it_tells_nothing_and_never_otherwise() {
    let fixture = Fixture::start("");
    // What was done in each, by its cookie.
    let mut done: HashMap<u64, &str> = HashMap::new();
    let mut again = BTreeSet::new();
    let start = std::time::Instant::now();
    let mut rounds = 0;
    while rounds < 3 || again.len() < QUIET.len() {
        let missing = || QUIET.iter().map(|(name, _)| *name).filter(|name| !again.contains(name));
        assert!(
            start.elapsed() < PATIENCE * 4,
            "never used again: {:?}",
            missing().collect::<Vec<_>>()
        );
        for (number, (name, code)) in TELLING.iter().enumerate() {
            for (name, code) in [QUIET[(number + rounds) % QUIET.len()], (*name, *code)] {
                let cookie = fixture.cookie_after(name, code);
                if let Some(before) = done.insert(cookie, name) {
                    let quiet = QUIET.iter().any(|(quiet, _)| *quiet == before);
                    assert!(quiet, "used again after {before}");
                    again.insert(before);
                }
            }
        }
        rounds += 1;
    }
}

#[test]
fn with_none_it_is_never_used_again() {
    let fixture = Fixture::start("[profile.default]\nrecycle = \"none\"\n");
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        assert!(seen.insert(fixture.cookie_after("nothing", "")), "one was used again");
    }
    eventually("nothing held but its own", || (fixture.held() == 1).then_some(()));
}

#[test]
fn where_sockets_are_not_confined_it_is_never_used_again() {
    for seccomp in ["\"off\"", "{ allow = [\"io_uring_setup\"] }"] {
        let fixture = Fixture::start(&format!("[profile.default]\nseccomp = {seccomp}\n"));
        let mut seen = BTreeSet::new();
        for _ in 0..30 {
            assert!(seen.insert(fixture.cookie_after("nothing", "")), "{seccomp}");
        }
    }
}

/// Everything in `/proc/net`, without what is the whole machine's or no two namespaces' alike.
const PORTRAIT: &str = "
import re
files = {}
for root, _, names in os.walk('/proc/net/'):
    for name in names:
        path = os.path.join(root, name)
        try:
            files[path] = read(path)
        except OSError as error:
            files[path] = errno.errorcode[error.errno]
# Addresses and inode numbers of the kernel's own sockets.
del files['/proc/net/netlink']
# What processors have done for all namespaces together (proc_net(5)).
for path in [path for path in files if '/net/stat/' in path or path.endswith('/softnet_stat')]:
    del files[path]
# Memory and orphans are counted over all namespaces.
files['/proc/net/sockstat'] = re.sub('(orphan|alloc|mem) [0-9]+', '', files['/proc/net/sockstat'])
lines = [line.split() for line in files['/proc/net/protocols'].splitlines()]
files['/proc/net/protocols'] = [line[:3] + line[4:] for line in lines]
# The addresses of the kernel's sockets.
settings = {}
for root, _, names in os.walk('/proc/sys/net'):
    for name in names:
        # What other leases of this machine do shows there.
        if name in ('tcp_mem', 'udp_mem', 'nf_conntrack_count'):
            continue
        try:
            settings[os.path.join(root, name)] = read(os.path.join(root, name))
        except OSError as error:
            settings[os.path.join(root, name)] = errno.errorcode[error.errno]
result = json.dumps([cookie(), files | settings])";

#[test]
fn one_that_is_used_again_tells_what_a_new_one_tells() {
    let fixture = Fixture::start("");
    let portrait = || -> (u64, Map<String, Value>) {
        let found = fixture.act(PORTRAIT);
        serde_json::from_str(&found).unwrap_or_else(|_| panic!("{found}"))
    };
    let (first, new) = portrait();
    assert!(new.len() > 100, "{} files", new.len());
    let mut seen = BTreeSet::from([first]);
    let mut again = 0;
    eventually("namespaces that are used again", || {
        let (cookie, told) = portrait();
        let names: BTreeSet<_> = new.keys().chain(told.keys()).collect();
        for name in names {
            assert_eq!(told.get(name), new.get(name), "{name}, {}", seen.contains(&cookie));
        }
        again += usize::from(!seen.insert(cookie));
        (again >= 5).then_some(())
    });
    // The control: the same look sees what a lease has done.
    let found = fixture.act(&format!("connection()\n{PORTRAIT}"));
    let (_, told): (u64, Map<String, Value>) = serde_json::from_str(&found).unwrap();
    for name in ["/proc/net/snmp", "/proc/net/netstat", "/proc/net/dev"] {
        assert_ne!(told.get(name), new.get(name), "{name}");
    }
}

#[test]
fn what_nobody_uses_again_is_not_held() {
    let fixture = Fixture::start("");
    fixture.until_one_is_used_again();
    let leases: Vec<_> = (0..20).map(|_| fixture.client.lease().unwrap()).collect();
    leases.into_iter().for_each(|lease| lease.release().unwrap());
    // Its own one, those of zygotes, and the stock.
    eventually("nothing held that is not in use", || {
        let pool = fixture.server.pool();
        let settled = pool.leased + pool.dying + pool.spawning == 0;
        (settled && fixture.held() <= 1 + pool.warm as usize + STOCK_MAX).then_some(())
    });
}

#[test]
fn what_is_held_is_lost_with_its_holder_and_missed_by_nobody() {
    let fixture = Fixture::start("");
    fixture.until_one_is_used_again();
    let stock = fixture.stock();
    kill(stock, Signal::SIGSTOP).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        assert!(seen.insert(fixture.cookie_after("nothing", "")), "its account was not looked at");
    }
    kill(stock, Signal::SIGCONT).unwrap();
    fixture.until_one_is_used_again();
    kill(stock, Signal::SIGKILL).unwrap();
    eventually("another one", || {
        fixture.cookie_after("nothing", "");
        fixture.server.processes_named(STOCK).into_iter().find(|other| *other != stock)
    });
    fixture.until_one_is_used_again();
}

#[test]
fn what_became_of_each_is_told() {
    let fixture = Fixture::start("");
    fixture.until_one_is_used_again();
    let counted = |fate| fixture.server.pool().fates.of(fate);
    eventually("one that is counted", || (counted(Fate::NetworkRecycled) > 0).then_some(()));
    assert_eq!(counted(Fate::NetworkWithTraffic), 0);
    // It is judged when the next one is ordered.
    eventually("a count of traffic", || {
        fixture.cookie_after(
            "a datagram",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        );
        (counted(Fate::NetworkWithTraffic) > 0).then_some(())
    });
    for never in [Fate::NetworkKept, Fate::NetworkUnseen, Fate::ZygoteRecycled] {
        assert_eq!(counted(never), 0, "{never:?}");
    }
}
