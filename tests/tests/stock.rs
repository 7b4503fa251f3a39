//! Network namespaces made ahead of demand: as good as those made on demand, by a process that
//! nobody waits for, that holds nothing else, and that ends with its template.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use zyg_tests::{Census, Probe, Server, Setup, eventually, skip, wait_readable};
use zygote_client::Lease;

const STOCK: &str = "zyg-stock";

/// Whose the network namespace is (NS_GET_USERNS, ioctl_nsfs(2)): told to those alone who are in that
/// user namespace or above it.
const OWNER: &str = "
import fcntl
network = os.open('/proc/self/ns/net', os.O_RDONLY)
os.close(fcntl.ioctl(network, 0xb701))";

/// The same, of one that the command has made itself.
const OWNER_OF_ITS_OWN: &str = "
import fcntl
nest(CLONE_NEWNET)
network = os.open('/proc/self/ns/net', os.O_RDONLY)
os.close(fcntl.ioctl(network, 0xb701))";

const DEVICES: &str = "result = [name for _, name in socket.if_nameindex()]";

const LOW_PORT: &str = "
listener = socket.create_server(('127.0.0.1', 1))
socket.create_connection(listener.getsockname())";

const ABOUT_ITSELF: &str = "result = os.readlink('/proc/self/ns/net')";

/// The process, once it stands back. It has its name from the first, and a moment later the kernel is
/// told to end it with its template, also where it is stopped (PR_SET_PDEATHSIG).
fn stock_of(server: &Server) -> Pid {
    eventually("a process that makes network namespaces", || {
        let stands_back = |stock: &Pid| nice_value(*stock).as_deref() == Some("19");
        server.processes_named(STOCK).first().copied().filter(stands_back)
    })
}

/// proc_pid_stat(5).
fn nice_value(pid: Pid) -> Option<String> {
    fields(pid)?.into_iter().nth(16)
}

/// What the kernel tells of a process, from its state on.
fn fields(pid: Pid) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// That a lease's network is what every lease's is, and the name of its namespace.
fn assert_good(lease: &Lease) -> String {
    let probe = Probe::new();
    assert_eq!(probe.one_inside(lease, DEVICES), "['lo']");
    assert_eq!(probe.one_inside(lease, LOW_PORT), "ok");
    assert_eq!(probe.one_inside(lease, OWNER), "EPERM");
    assert_eq!(probe.one_inside(lease, OWNER_OF_ITS_OWN), "ok", "the control");
    probe.one_inside(lease, ABOUT_ITSELF)
}

/// Takes more leases than are warm, two times over, and looks at each.
fn assert_all_good(server: &Server) {
    for _ in 0..2 {
        let client = server.client();
        let leases: Vec<Lease> = (0..5).map(|_| client.lease().unwrap()).collect();
        let networks: BTreeSet<String> = leases.iter().map(assert_good).collect();
        assert_eq!(networks.len(), leases.len(), "two leases share one: {networks:?}");
        leases.into_iter().for_each(|lease| lease.release().unwrap());
        server.wait_warm();
    }
}

#[test]
fn what_comes_from_stock_is_as_good_as_what_is_made_on_demand() {
    let server = Server::start();
    let stock = stock_of(&server);
    assert_all_good(&server);
    assert_eq!(server.processes_named(STOCK), [stock], "it is still the same");
    // While it is stopped, all are made on demand once those in stock are used up.
    kill(stock, Signal::SIGSTOP).unwrap();
    assert_all_good(&server);
}

#[test]
fn it_stands_back_and_holds_nothing_else() {
    let server = Server::start();
    let stock = stock_of(&server);
    let template = server.processes_named("zyg-template")[0];
    // Parent, session and threads (proc_pid_stat(5)).
    let of_stock = fields(stock).unwrap();
    assert_eq!(of_stock[1], template.to_string());
    assert_eq!(of_stock[3], template.to_string(), "it is weighed with its template");
    assert_eq!(of_stock[17], "1");
    for pid in server.processes_named("zyg-init").into_iter().chain([template]) {
        assert_eq!(nice_value(pid).as_deref(), Some("0"), "nobody else stands back");
    }
    eventually("nothing but its two links and network namespaces", || {
        let entries = fs::read_dir(format!("/proc/{stock}/fd")).unwrap();
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let mut links: Vec<_> = links.map(|link| link.to_string_lossy().into_owned()).collect();
        links.sort();
        let kinds: Vec<_> = links.iter().filter_map(|link| link.split(':').next()).collect();
        let (networks, others): (Vec<&str>, Vec<_>) =
            kinds.into_iter().partition(|kind| *kind == "net");
        // Its own one, those of zygotes that are to be used again, and as many in stock as zygotes have
        // lived at once: one more than are warm, where the next was made while the first lease's ended.
        let bound = 2 + 2 * server.pool().warm as usize;
        let held = ["/dev/null", "/dev/null", "/dev/null", "socket", "socket"];
        let at_rest = others == held || others == [&["/"], &held[..]].concat();
        (at_rest && networks.len() <= bound).then_some(())
    });
}

#[test]
fn one_that_is_killed_is_missed_by_nobody() {
    let server = Server::start();
    let stock = stock_of(&server);
    let pidfd = zygote::process_descriptor(stock).unwrap();
    kill(stock, Signal::SIGKILL).unwrap();
    wait_readable(pidfd, "its end");
    assert_all_good(&server);
    let told = "without a stock of network namespaces: its process has ended";
    assert_eq!(server.log().matches(told).count(), 1, "{}", server.log());
    // There is another one as soon as it may be tried again.
    eventually("another one", || {
        let lease = server.client().lease().unwrap();
        lease.release().unwrap();
        server.processes_named(STOCK).into_iter().find(|other| *other != stock)
    });
}

#[test]
fn it_ends_with_its_template_also_where_it_is_stopped() {
    for stopped in [false, true] {
        let server = Server::start();
        let stock = stock_of(&server);
        if stopped {
            kill(stock, Signal::SIGSTOP).unwrap();
        }
        let pidfd = zygote::process_descriptor(stock).unwrap();
        kill(server.processes_named("zyg-template")[0], Signal::SIGKILL).unwrap();
        wait_readable(pidfd, "its end");
        server.wait_warm();
        // The old one keeps its name until it is reaped.
        eventually("another one", || Some(stock_of(&server)).filter(|other| *other != stock));
    }
}

#[test]
fn nothing_is_left_of_it_after_a_server_however_that_ends() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut server = Server::start();
        kill(stock_of(&server), Signal::SIGSTOP).unwrap();
        let census = Census::below(server.pid());
        server.signal(signal);
        server.wait();
        census.assert_gone();
    }
}

#[test]
fn there_is_none_where_it_would_be_of_no_use() {
    for network in ["host", "own"] {
        let config = format!("[profile.default]\nnetwork = \"{network}\"\n");
        let server = Setup::default().config(&config).start_warm();
        assert!(server.client().lease().is_ok());
        assert_eq!(server.processes_named(STOCK), [], "{network}");
    }
    let server = Setup::default().descriptors(1024).start_warm();
    assert!(server.client().lease().is_ok());
    assert_eq!(server.processes_named(STOCK), [], "few descriptors");
}

#[test]
fn without_a_procfs_of_its_own_a_template_works_all_the_same() {
    // Denied to commands, and so to the template and all that comes of it.
    let config = "[profile.default]\nseccomp = { deny = [\"fsopen\"] }\n";
    let server = Setup::default().config(config).start_warm();
    assert_all_good(&server);
    let told = "the kernel refuses a procfs of the template's own";
    assert!(server.log().contains(told), "{}", server.log());
}

#[test]
fn a_zygote_is_made_as_fast_among_many_as_among_few() {
    const FEW: u32 = 100;
    const MANY: u32 = 600;
    // As many as are said, and not what these requests teach.
    let pool = format!("[profile.default.pool]\nmin = {FEW}\nmax = {MANY}\nlearn = false\n");
    let server = Setup::default().config(&pool).start_warm();
    let template = server.processes_named("zyg-template")[0];
    if !Path::new("/proc/self/schedstat").exists() {
        return skip("this kernel does not say what a process has used (CONFIG_SCHED_INFO)");
    }
    let settle = || {
        eventually("a settled pool", || {
            let pool = server.pool();
            let moving = pool.spawning + pool.dying + pool.waiters;
            (moving == 0 && pool.warm >= pool.target).then_some(())
        })
    };
    // What the template itself has used, in nanoseconds: others do not count.
    let used = || -> u64 {
        let fields = fs::read_to_string(format!("/proc/{template}/schedstat")).unwrap();
        fields.split(' ').next().unwrap().parse().unwrap()
    };
    let client = server.client();
    let start = used();
    let mut leases: Vec<Lease> = (0..FEW).map(|_| client.lease().unwrap()).collect();
    settle();
    let among_few = used() - start;
    while leases.len() < (MANY - 2 * FEW) as usize {
        leases.push(client.lease().unwrap());
    }
    settle();
    let start = used();
    leases.extend((0..FEW).map(|_| client.lease().unwrap()));
    settle();
    let among_many = used() - start;
    // Six times as many living ones would be 2.5 times as slow through one and the same procfs.
    let ratio = among_many as f64 / among_few as f64;
    println!("{FEW} zygotes: {among_few} ns among few, {among_many} ns among many ({ratio:.2})");
    assert!(ratio < 3.0, "{ratio:.2}");
}
