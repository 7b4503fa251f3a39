//! The options of `zyg run` that change how the command is run.

use crate::arguments::script;
use crate::run::{Ready, Seen, Way};
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};
use zyg_tests::{Server, home};

fn run(server: &Server, arguments: &[&str]) -> Seen {
    let mut command = server.zyg("run");
    Seen::of(Way::Zyg, command.current_dir(home()).args(arguments).output().unwrap())
}

#[test]
fn chdir_is_where_the_command_starts() {
    let server = Server::start();
    let below_home = tempfile::tempdir_in(home()).unwrap();
    let below_tmp = tempfile::tempdir_in("/tmp").unwrap();
    for place in [below_home.path(), below_tmp.path()] {
        fs::create_dir(place.join("sub")).unwrap();
        let pwd = |from: &str, to: &str| {
            let mut command = server.zyg("run");
            command.current_dir(from).args(["--chdir", to, "--", "sh", "-c", "cd -P . && pwd"]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let (root, sub) = (place.to_str().unwrap(), format!("{}/sub", place.display()));
        assert_eq!(pwd("/", &sub), format!("{sub}\n"));
        assert_eq!(pwd(root, "sub"), format!("{sub}\n"));
        assert_eq!(pwd(&sub, ".."), format!("{root}\n"));
        assert_eq!(pwd(&sub, "."), format!("{sub}\n"));
        assert_eq!(pwd(&sub, "../sub/../sub"), format!("{sub}\n"));
        assert_eq!(pwd(&sub, "/usr/share"), "/usr/share\n");
        std::os::unix::fs::symlink("sub", place.join("link")).unwrap();
        assert_eq!(pwd(root, "link"), format!("{sub}\n"));
    }
}

#[test]
fn a_relative_program_is_found_from_chdir() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    script(&place.path().join("prog"), "#!/bin/sh\necho ran\n");
    let place = place.path().to_str().unwrap();
    assert_eq!(run(&server, &["--chdir", place, "--", "./prog"]).stdout, b"ran\n");
}

#[test]
fn chdir_to_nowhere_names_the_directory() {
    let server = Server::start();
    let file = tempfile::NamedTempFile::new_in(home()).unwrap();
    let file = file.path().to_str().unwrap();
    for missing in ["/no/such", "no/such", "/tmp/no/such", "/usr/no-such", "/etc/passwd", file] {
        let seen = run(&server, &["--chdir", missing, "--", "echo", "ran"]);
        let said = String::from_utf8_lossy(&seen.stderr).into_owned();
        assert_eq!((seen.code, seen.stdout.len()), (125, 0), "{missing}: {said}");
        assert!(said.contains("failed to change to directory"), "{missing}: {said}");
        assert_eq!(said.lines().count(), 1, "{missing}: {said}");
        assert!(said.contains(missing), "{missing}: {said}");
    }
}

#[test]
fn the_host_name_is_this_runs_alone() {
    let server = Server::start();
    let name = |arguments: &[&str]| run(&server, &[arguments, &["--", "uname", "-n"]].concat());
    let own = name(&[]);
    assert_eq!(name(&["--hostname", "elsewhere"]).stdout, b"elsewhere\n");
    assert_eq!(name(&[]), own);
    let long = "h".repeat(65);
    let seen = name(&["--hostname", &long]);
    assert_eq!(seen.code, 125);
    assert!(String::from_utf8_lossy(&seen.stderr).contains("host name"), "{seen:?}");
}

#[test]
fn a_timeout_ends_the_command_and_all_beside_it() {
    let server = Server::start();
    let start = Instant::now();
    // One that will not hear of ending, and one that has left its parent.
    let forever = "trap '' TERM INT HUP; setsid sleep 1000 & sleep 1000 & echo ready; sleep 1000";
    let mut command = server.zyg("run");
    command.args(["--timeout", "1s", "--", "sh", "-c", forever]);
    let mut ready = Ready::start(command);
    let left = server.census();
    let status = ready.child.wait().unwrap();
    assert_eq!(status.code(), Some(124));
    assert!(start.elapsed() >= Duration::from_secs(1));
    // Its exit is told when nothing is left: the pipe has its end already.
    let mut rest = String::new();
    ready.stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(server.processes_named("sleep").is_empty(), "{left:?}");
}

#[test]
fn a_command_that_is_in_time_has_its_own_exit_code() {
    let server = Server::start();
    assert_eq!(run(&server, &["--timeout", "60", "--", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(run(&server, &["--timeout", "24h", "--", "true"]).code, 0);
}

#[test]
fn the_json_status_tells_start_and_end() {
    let brief = "[profile.brief.limits]\ntime = \"200ms\"\n";
    let server = zyg_tests::Setup::default().config(brief).start();
    let told = |options: &str, script: &str| {
        let inner = server.zyg("run");
        let mut outer = std::process::Command::new("sh");
        let line = format!("exec 9>&1 >&2; exec \"$0\" run --json-status-fd 9 {options} -- \"$@\"");
        outer.args(["-c", &line]).arg(inner.get_program()).args(["sh", "-c", script]);
        let output = outer.env("ZYG_SOCKET", server.socket()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines, output.status.code().unwrap())
    };
    let (lines, code) = told("", "test ! -e /proc/$$/fd/9 && exit 3");
    assert_eq!((lines.len(), code), (2, 3), "the command does not get the descriptor: {lines:?}");
    assert!(lines[0]["child-pid"].as_u64().is_some_and(|pid| pid > 1));
    assert_eq!(lines[1]["exit-code"], 3);
    assert!(lines[1]["signal"].is_null() && lines[1]["timed-out"] == false);
    let (lines, code) = told("", "kill -TERM $$");
    assert_eq!((code, &lines[1]["signal"], &lines[1]["exit-code"]), (143, &15.into(), &143.into()));
    let (lines, code) = told("--timeout 50ms", "sleep 1000");
    assert_eq!(
        (code, &lines[1]["timed-out"], &lines[1]["exit-code"]),
        (124, &true.into(), &124.into())
    );
    // By the profile as by the option; and what ends with that code by itself has not timed out.
    let (lines, code) = told("-p brief", "sleep 1000");
    assert_eq!((code, &lines[1]["timed-out"], lines.len()), (124, &true.into(), 2));
    let (lines, code) = told("-p brief", "exit 124");
    assert_eq!((code, &lines[1]["timed-out"], lines.len()), (124, &false.into(), 2));
}

#[test]
fn an_environment_that_is_taken_away_is_no_command_that_timed_out() {
    let long = "[profile.long.limits]\ntime = \"1h\"\n";
    let server = zyg_tests::Setup::default().config(long).start();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec \"$0\" run -p long --json-status-fd 9 -- sleep 1000 9>&1"]);
    shell.arg(server.zyg("run").get_program()).env("ZYG_SOCKET", server.socket());
    let running = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let leased = || server.client().status().unwrap().profiles.iter().any(|pool| pool.leased > 0);
    zyg_tests::eventually("a command", || leased().then_some(()));
    let drained = server.zyg("drain").args(["--timeout", "0"]).output().unwrap();
    assert_eq!(drained.status.code(), Some(3), "{drained:?}");
    let seen = Seen::of(Way::Zyg, running.wait_with_output().unwrap());
    assert_eq!(seen.code, 125, "{seen:?}");
    let told = String::from_utf8_lossy(&seen.stdout).into_owned();
    if let Some(last) = told.lines().nth(1) {
        let line: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!((&line["exit-code"], &line["timed-out"]), (&125.into(), &false.into()));
    } else {
        // It was drained before the command had started, and nothing is told of that.
        assert!(told.is_empty(), "{told}");
    }
}

#[test]
fn a_json_status_descriptor_that_is_not_open_is_named() {
    let server = Server::start();
    let seen = run(&server, &["--json-status-fd", "77", "--", "echo", "ran"]);
    assert_eq!((seen.code, seen.stdout.len()), (125, 0));
    assert!(String::from_utf8_lossy(&seen.stderr).contains("--json-status-fd 77"), "{seen:?}");
}

#[test]
fn a_json_status_that_cannot_be_written_ends_no_command() {
    let server = Server::start();
    let told = |redirection: &str| {
        let inner = server.zyg("run");
        let mut outer = std::process::Command::new("sh");
        let line = format!("exec \"$0\" run --json-status-fd 9 -- echo ran 9{redirection}");
        outer.args(["-c", &line]).arg(inner.get_program());
        Seen::of(Way::Zyg, outer.env("ZYG_SOCKET", server.socket()).output().unwrap())
    };
    let full = told(">/dev/full");
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert_eq!((full.code, &full.stdout[..]), (0, &b"ran\n"[..]), "{said}");
    assert!(said.lines().count() == 1 && said.contains("JSON status"), "{said}");
    // What can be known before is told before.
    let read_only = told("</dev/null");
    let said = String::from_utf8_lossy(&read_only.stderr).into_owned();
    assert_eq!((read_only.code, read_only.stdout.len()), (125, 0), "{said}");
    assert!(said.contains("--json-status-fd 9 is not open for writing"), "{said}");
    assert_eq!(told(">/dev/null").code, 0, "the control");
}

#[test]
fn a_command_that_does_not_start_ends_the_json_status_as_well() {
    let server = Server::start();
    for (command, code) in
        [("-- /no/such", 127), ("-p no-such -- true", 125), ("--bind /no/such -- true", 125)]
    {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" run --json-status-fd 9 {command} 9>&1")]);
        shell.arg(server.zyg("run").get_program()).env("ZYG_SOCKET", server.socket());
        let seen = Seen::of(Way::Zyg, shell.output().unwrap());
        let line: serde_json::Value = serde_json::from_slice(&seen.stdout).unwrap();
        assert_eq!((seen.code, &line["exit-code"]), (code, &code.into()), "{seen:?}");
    }
}

#[test]
fn what_is_warm_is_had_without_any_wait() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    for _ in 0..20 {
        let mut command = server.zyg("run");
        // Its source is opened first, which is no wait for an environment.
        command.current_dir(place.path()).args(["--wait", "0", "--", "echo", "ran"]);
        let seen = Seen::of(Way::Zyg, command.output().unwrap());
        assert_eq!((&seen.stdout[..], seen.code), (&b"ran\n"[..], 0), "{seen:?}");
        server.wait_warm();
    }
}

#[test]
fn a_full_pool_is_waited_for_no_longer_than_told() {
    let server =
        zyg_tests::Setup::default().config("[profile.default.pool]\nmin = 1\nmax = 1\n").start();
    let held = server.client().lease().unwrap();
    let start = Instant::now();
    let seen = run(&server, &["--wait", "300ms", "--", "echo", "ran"]);
    assert_eq!((seen.code, seen.stdout.len()), (125, 0), "{seen:?}");
    assert!(String::from_utf8_lossy(&seen.stderr).contains("300 ms"), "{seen:?}");
    assert!(start.elapsed() >= Duration::from_millis(300));

    // Whoever waits long enough gets the one that is given back.
    let mut waiting = server.zyg("run");
    waiting.args(["--wait", "60s", "--", "echo", "ran"]).stdout(Stdio::piped());
    let waiting = waiting.spawn().unwrap();
    zyg_tests::eventually("waiting", || (server.pool().waiters == 1).then_some(()));
    held.release().unwrap();
    let output = waiting.wait_with_output().unwrap();
    assert_eq!((&output.stdout[..], output.status.code()), (&b"ran\n"[..], Some(0)));
}

#[test]
fn a_waiting_run_can_be_ended() {
    let server =
        zyg_tests::Setup::default().config("[profile.default.pool]\nmin = 1\nmax = 1\n").start();
    let held = server.client().lease().unwrap();
    let mut waiting = server.zyg("run").args(["--", "echo", "ran"]).spawn().unwrap();
    zyg_tests::eventually("waiting", || (server.pool().waiters == 1).then_some(()));
    let pid = nix::unistd::Pid::from_raw(waiting.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
    assert_eq!(crate::run::code(waiting.wait().unwrap()), 128 + 15);
    zyg_tests::eventually("no waiter", || (server.pool().waiters == 0).then_some(()));
    drop(held);
}

#[test]
fn a_profile_that_is_not_there_is_told_with_those_that_are() {
    let config = "[profile.other]\n[profile.third]\n";
    let server = zyg_tests::Setup::default().config(config).start();
    let seen = run(&server, &["--profile", "nosuch", "--", "echo", "ran"]);
    let said = String::from_utf8_lossy(&seen.stderr).into_owned();
    assert_eq!((seen.code, seen.stdout.len()), (125, 0));
    for name in ["nosuch", "default", "other", "third"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert_eq!(run(&server, &["-p", "other", "--", "true"]).code, 0);
    let by_variable = server.zyg("run").env("ZYG_PROFILE", "no2").args(["--", "true"]).output();
    assert!(String::from_utf8_lossy(&by_variable.unwrap().stderr).contains("no2"));
    let by_none = server.zyg("run").env("ZYG_PROFILE", "").args(["--", "true"]).status();
    assert!(by_none.unwrap().success(), "an empty variable is none");
}
