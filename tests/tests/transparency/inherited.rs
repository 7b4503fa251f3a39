//! What a process has from its parent, beside streams, directory and environment.

use crate::run::{Way, same, same_script};
use nix::sys::resource::{Resource, getrlimit};
use std::process::Command;
use zyg_tests::Server;

const NO_ARGUMENTS: [&str; 0] = [];

/// The command, started by a shell that has run this first.
fn after(server: &Server, way: Way, setup: &str, argv: &[&str]) -> Command {
    let inner = way.command(server, argv);
    let mut outer = Command::new("sh");
    outer.args(["-c", &format!("{setup}; exec \"$@\""), "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.env("ZYG_SOCKET", server.socket()).env_remove("ZYG_PROFILE");
    outer
}

/// What the command prints both ways after this setup, which must be the same.
fn told_after(server: &Server, setup: &str, argv: &[&str]) -> String {
    let [bare, zyg] = [Way::Bare, Way::Zyg].map(|way| {
        let output = after(server, way, setup, argv).output().unwrap();
        assert!(output.status.success(), "{way:?} after {setup}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    });
    assert_eq!(zyg, bare, "{argv:?} after {setup}");
    zyg
}

#[test]
fn the_umask_is_kept() {
    let server = Server::start();
    for umask in ["0000", "0022", "0077", "0027", "0777"] {
        let told = told_after(&server, &format!("umask {umask}"), &["sh", "-c", "umask"]);
        assert_eq!(told.trim(), umask);
    }
    let make = "cd /dev/shm; f=zyg-$$; rm -f $f; touch $f; stat -c %a $f; rm -f $f";
    assert_eq!(told_after(&server, "umask 027", &["sh", "-c", make]), "640\n");
}

#[test]
fn resource_limits_are_kept() {
    let server = Server::start();
    // But for the one of descriptors, which is the next test's.
    let limits = ["sh", "-c", "(ulimit -S -a; echo; ulimit -H -a) | grep -v nofiles"];
    told_after(&server, ":", &limits);
    told_after(&server, "ulimit -S -s 4096; ulimit -c 0; ulimit -f 2048; ulimit -t 600", &limits);
    told_after(&server, "ulimit -v 8000000", &limits);
}

#[test]
fn the_limit_of_descriptors_is_kept_below_what_hands_leases_over() {
    let server = Server::start();
    let told = ["sh", "-c", "ulimit -S -n; ulimit -H -n"];
    assert_eq!(told_after(&server, "ulimit -S -n 256; ulimit -H -n 300", &told), "256\n300\n");
    assert_eq!(told_after(&server, "ulimit -n 256", &told), "256\n256\n");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let room = (hard / 4).min(1024);
    let most = if room > 253 { hard - room } else { hard };
    let output = after(&server, Way::Zyg, ":", &told).output().unwrap();
    let want = format!("{}\n{most}\n", soft.min(most));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), want, "outside {soft} and {hard}");
}

#[test]
fn the_nice_value_and_the_cpus_are_kept() {
    let server = Server::start();
    let told = ["sh", "-c", "nice; taskset -p $$ | sed 's/.*: //'"];
    told_after(&server, ":", &told);
    let own = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    for cpu in (0..nix::sched::CpuSet::count()).filter(|cpu| own.is_set(*cpu).unwrap()) {
        let setup = format!("taskset -cp {cpu} $$ >/dev/null; renice -n 7 $$ >/dev/null");
        let seen = told_after(&server, &setup, &told);
        assert_eq!(seen, format!("7\n{:x}\n", 1_u128 << cpu));
    }
}

#[test]
fn signals_have_their_defaults_and_none_is_blocked() {
    let server = Server::start();
    let signals = ["grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"];
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    // Whatever zyg itself was started with: here, what a shell has been told to ignore.
    let mut command = after(&server, Way::Zyg, "trap '' HUP INT TERM USR1", &signals);
    assert_eq!(String::from_utf8_lossy(&command.output().unwrap().stdout), none);
}

#[test]
fn the_user_is_the_caller() {
    let server = Server::start();
    let seen = same_script(&server, "id -u; id -g; id -ru; id -rg", &NO_ARGUMENTS);
    assert_eq!(seen.code, 0);
}

#[test]
fn the_machine_is_called_the_same() {
    let server = Server::start();
    same(&server, &["uname", "-a"]);
}

#[test]
fn the_command_leads_a_process_group_and_has_init_as_its_parent() {
    let server = Server::start();
    let script = "cut -d' ' -f4,5 /proc/$$/stat; echo $$";
    let output = server.zyg("run").args(["--", "sh", "-c", script]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let mut words = told.split_whitespace();
    assert_eq!(words.next(), Some("1"));
    assert_eq!(words.next(), words.next());
}

#[test]
fn a_large_memory_is_usable() {
    let server = Server::start();
    // 64 MiB through a shell's own memory.
    let script = "x=$(head -c 67108864 /dev/zero | tr '\\0' x); echo ${#x}";
    let seen = same(&server, &["sh", "-c", script]);
    assert_eq!(seen.stdout, b"67108864\n");
}
