//! Whose authority an environment has, and what a command may do with it.

use crate::{outside, printed, server, succeeds};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerPidfd;
use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use zyg_protocol::message::{Acquire, Reply, Request};
use zyg_tests::{Setup, connect_as, is_root};
use zygote_client::LeaseOptions;

/// The kernel uid of a lease's commands, as the host sees it.
fn kernel_uid(lease: &zygote_client::Lease) -> u32 {
    let output = lease.command("cat").arg("/proc/self/uid_map").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn no_two_strict_leases_share_a_kernel_uid() {
    let server = server("");
    let client = server.client();
    let strict = || client.acquire(LeaseOptions::new().profile("strict")).unwrap();
    let leases: Vec<_> = (0..8).map(|_| strict()).collect();
    let uids: HashSet<u32> = leases.iter().map(kernel_uid).collect();
    assert_eq!(uids.len(), leases.len());
    let own = nix::unistd::getuid().as_raw();
    assert!(!uids.contains(&own) && !uids.contains(&0), "{uids:?}");
    let default = client.acquire(&LeaseOptions::new()).unwrap();
    assert_eq!(kernel_uid(&default), own, "the control");
}

#[test]
fn a_template_looks_for_newuidmap_where_its_server_does() {
    let server = Setup::default().shell("PATH=/here:$PATH; export PATH").start_warm();
    let template = server.processes_named("zyg-template")[0];
    let environment = fs::read(format!("/proc/{template}/environ")).unwrap();
    let mut variables = environment.split(|byte| *byte == 0);
    assert!(variables.any(|variable| variable.starts_with(b"PATH=/here:")));
}

#[test]
fn what_a_command_finds_does_not_depend_on_the_umask_of_the_server() {
    let server = Setup::default().shell("umask 077").start();
    let strict = server.client().acquire(LeaseOptions::new().profile("strict")).unwrap();
    let mut command = strict.command("sh");
    let output = command.args(["-c", "echo >/dev/null && cat /proc/self/comm"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "cat\n", "{output:?}");
}

#[test]
fn two_servers_hand_out_different_slices() {
    let (one, other) = (server(""), server(""));
    let lease = |server: &zyg_tests::Server| {
        server.client().acquire(LeaseOptions::new().profile("strict")).unwrap()
    };
    let (first, second) = (lease(&one), lease(&other));
    assert_ne!(kernel_uid(&first), kernel_uid(&second));
}

#[test]
fn a_slice_is_used_again_only_when_nothing_of_it_is_left() {
    let server = server("[profile.one]\nextends = \"strict\"\npool = { min = 0, max = 1 }\n");
    let client = server.client();
    for _ in 0..5 {
        let lease = client.acquire(LeaseOptions::new().profile("one")).unwrap();
        let uid = kernel_uid(&lease);
        lease
            .command("sh")
            .args(["-c", "setsid sleep 1000 & setsid sleep 1000 &"])
            .status()
            .unwrap();
        drop(lease);
        let next = client.acquire(LeaseOptions::new().profile("one")).unwrap();
        assert_eq!(kernel_uid(&next), uid, "there is only one");
        let owned = outside(&format!("ps -o pid= -u {uid} | wc -l"));
        // The init and nothing else: the former lease's daemons are gone.
        assert_eq!(owned, "1", "processes of uid {uid}");
    }
}

#[test]
fn strict_has_no_group_of_the_clients() {
    let server = server("");
    let groups = printed(&server, "strict", "grep Groups /proc/self/status");
    assert_eq!(groups.trim(), "Groups:");
}

#[test]
fn strict_takes_no_bind_and_says_so() {
    let server = server("");
    let mut run = server.zyg("run");
    let output = run.args(["-p", "strict", "--bind", "/usr", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("takes no bind"));
}

#[test]
fn a_command_is_who_the_profile_says() {
    let server = server("[profile.rooted]\nuser = { uid = 0, gid = 0 }\n");
    assert_eq!(printed(&server, "rooted", "id -u; id -g"), "0\n0");
    let own = outside("id -u; id -g");
    assert_eq!(printed(&server, "default", "id -u; id -g"), own, "the control");
    assert_eq!(
        printed(
            &server,
            "rooted",
            "grep -E 'Cap(Eff|Prm|Bnd)' /proc/self/status | grep -vc 0000000000000000"
        ),
        "0"
    );
}

/// As the system's unit has it (SECURITY.md): of all capabilities these three.
#[test]
fn strict_takes_no_more_of_root_than_the_unit_leaves() {
    if !is_root() {
        eprintln!("NOT SHOWN: it takes root, for an ordinary user's server has no capability");
        return;
    }
    let server = |caps: &str| {
        let setpriv = format!("set -- setpriv --bounding-set=-all,{caps} \"$@\"");
        Setup::default().shell(&setpriv).start()
    };
    let [whole, less] = ["+setuid,+setgid,+setfcap", "+setuid,+setfcap"].map(server);
    for uid in [0, 1] {
        let client = connect_as(uid, whole.socket());
        let profile = Some("strict".to_owned());
        client.say(&Request::Acquire(Acquire { profile: profile.clone(), ..Acquire::default() }));
        drop(client.take_lease());
        let client = connect_as(uid, less.socket());
        client.say(&Request::Acquire(Acquire { profile, ..Acquire::default() }));
        let reply = client.reply();
        assert!(matches!(reply, Some(Reply::Denied { .. })), "the control: {reply:?}");
    }
}

/// Where a lease could leave it to the next: of a pid namespace that ends with its lease it may.
#[test]
fn the_largest_process_number_is_no_matter_of_a_leases() {
    let rooted = "user = { uid = 0, gid = 0 }\n";
    let server = server(&format!("[profile.again]\nrecycle = \"whole\"\n{rooted}"));
    assert!(!succeeds(&server, "again", "echo 1000 > /proc/sys/kernel/pid_max"));
    assert!(succeeds(&server, "again", "test -r /proc/sys/kernel/pid_max"), "the control");
}

#[test]
fn capabilities_are_those_of_the_profile_and_reach_every_uid() {
    let server = server(
        "[profile.kept]\ncapabilities = [\"chown\", \"net_bind_service\"]\n\
         [profile.rooted]\nuser = { uid = 0, gid = 0 }\ncapabilities = [\"chown\"]\n",
    );
    let show = "sed -n 's/CapEff:\\t*//p;s/CapBnd:\\t*//p' /proc/self/status";
    assert_eq!(printed(&server, "kept", show), "0000000000000401\n0000000000000401");
    assert_eq!(printed(&server, "rooted", show), "0000000000000001\n0000000000000001");
    assert_eq!(printed(&server, "default", show), "0000000000000000\n0000000000000000");
}

#[test]
fn init_is_out_of_reach_for_commands_with_capabilities() {
    let server = server(
        "[profile.strong]\nuser = { uid = 0, gid = 0 }\n\
         capabilities = [\"dac_override\", \"dac_read_search\", \"kill\", \"fowner\", \"chown\", \"setuid\", \"setgid\"]\n",
    );
    for act in [
        "cat /proc/1/environ",
        "readlink /proc/1/fd/3",
        "cat /proc/1/fd/3",
        "ls /proc/1/root/",
        "ls /proc/1/cwd/",
        "head -c 1 /proc/1/mem",
        "readlink /proc/1/exe",
        "strace -p 1 -o /dev/null -e none",
    ] {
        assert!(!succeeds(&server, "strong", &format!("timeout 2 {act}")), "{act}");
    }
    assert!(
        succeeds(&server, "strong", "ls /proc/self/fd/ && cat /proc/self/environ"),
        "the control"
    );
    assert!(succeeds(&server, "strong", "kill -9 1; kill -STOP 1; sleep 0 && test -d /proc/1"));
}

#[test]
fn limits_hold_whatever_the_client_asks_for() {
    let server = server("[profile.lean.limits]\nnofile = 64\nfsize = \"1M\"\ncore = 0\n");
    assert_eq!(printed(&server, "lean", "ulimit -Hn; ulimit -Hc"), "64\n0");
    assert!(!succeeds(&server, "lean", "ulimit -n 128"));
    assert!(!succeeds(&server, "lean", "head -c 3000000 /dev/zero > /tmp/f"));
    assert!(succeeds(&server, "default", "head -c 3000000 /dev/zero > /tmp/f"), "the control");
}

#[test]
fn a_profiles_time_limit_ends_a_lease() {
    let server = server("[profile.brief.limits]\ntime = \"300ms\"\n");
    let client = server.client();
    let lease = client.acquire(LeaseOptions::new().profile("brief")).unwrap();
    let mut child = lease.command("sleep").arg("1000").spawn().unwrap();
    assert!(child.wait().is_err(), "the lease ends under it");
    zyg_tests::wait_readable(lease.pidfd(), "the environment's end");
    // Whose it was, with the program's name where the kernel vouches for it (Linux 6.5).
    let (one, _other) = UnixStream::pair().unwrap();
    let vouched = getsockopt(&one, PeerPidfd).is_ok();
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let name = if vouched { format!(" ({})", name.trim_end()) } else { String::new() };
    let (log, process) = (server.log(), format!("of process {}{name}", std::process::id()));
    assert!(
        log.lines().any(|line| line.contains("time limit") && line.contains(&process)),
        "{log}"
    );
}

#[test]
fn a_slice_reads_nothing_that_is_its_users_alone_though_all_is_writable() {
    // Root's home directory is closed to its slices.
    let place = if zyg_tests::is_root() { "/srv".into() } else { zyg_tests::home() };
    let tree = tempfile::Builder::new().prefix(".zyg-tree-").tempdir_in(place).unwrap();
    let (private, file) = (tree.path().join("private"), tree.path().join("private/file"));
    for directory in ["proc", "sys", "dev", "tmp", "private"] {
        std::fs::create_dir(tree.path().join(directory)).unwrap();
    }
    let programs = "/bin/sh /bin/cat";
    let copy = format!(
        "cp -L --parents {programs} $(ldd {programs} | grep -o '/lib[^ ]*' | sort -u) {} && echo ok",
        tree.path().display()
    );
    assert_eq!(outside(&copy), "ok");
    std::fs::write(&file, "its user's").unwrap();
    for (path, mode) in [(tree.path(), 0o755), (&file, 0o644), (&private, 0o700)] {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let keys = format!("root = {:?}\nroot_overlay = true\nwritable = [\"/tmp\"]\n", tree.path());
    let server =
        server(&format!("[profile.apart]\nidentity = \"slice\"\n{keys}[profile.same]\n{keys}"));
    assert_eq!(printed(&server, "same", "cat /private/file"), "its user's", "the control");
    assert_eq!(printed(&server, "apart", "echo runs; cat /private/file"), "runs");
}

#[test]
fn no_capability_lifts_the_limits_of_an_environment() {
    let nested = "unshare --user --cgroup true";
    assert_eq!(outside(&format!("{nested} && echo made")), "made", "the control");
    let server = server("[profile.able]\ncapabilities = [\"sys_resource\"]\n");
    // Root's settings cannot be written at all.
    let lift = "echo 50 > /proc/sys/user/max_cgroup_namespaces";
    assert!(!succeeds(&server, "able", &format!("{lift}; {nested}")));
    assert!(succeeds(&server, "able", "unshare --user true"), "the control: others are allowed");
}
