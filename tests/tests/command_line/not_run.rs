//! Commands that cannot be run: which exit code, and what is said.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use zyg_tests::{Server, eventually, is_root, zyg_binary};

/// Programs that cannot be made to run, by what is wrong with them.
fn run(server: &Server, cwd: &Path, argv: &[&str]) -> Output {
    server.zyg("run").current_dir(cwd).arg("--").args(argv).output().unwrap()
}

/// Asserts the exit code, one line on standard error that names all of these, and silence on
/// standard output.
fn assert_refused(output: &Output, code: i32, named: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(said.starts_with("zyg: ") && said.lines().count() == 1, "{said}");
    for name in named {
        assert!(said.contains(name), "{name} is not in: {said}");
    }
}

fn file(path: &Path, content: &str, mode: u32) {
    let write = "printf %s \"$2\" >\"$1\"; chmod \"$3\" \"$1\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", write, "sh"]).arg(path).arg(content).arg(format!("{mode:o}"));
    assert!(shell.status().unwrap().success());
}

#[test]
fn a_command_that_is_not_found_is_127() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    for name in ["no-such-command", "./no-such", "/no/such", "/tmp/no-such", "/etc/passwd/x", ""] {
        let mut command = server.zyg("run");
        command.env("PATH", "/usr/bin:/bin").current_dir(place.path()).args(["--", name]);
        assert_refused(&command.output().unwrap(), 127, &[name, "not found"]);
    }
}

#[test]
fn a_file_that_is_not_executable_is_126() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    file(&place.path().join("data"), "data", 0o644);
    for name in ["/etc/passwd", "./data", place.path().join("data").to_str().unwrap()] {
        assert_refused(&run(&server, place.path(), &[name]), 126, &[name, "Permission denied"]);
    }
}

#[test]
fn a_mount_that_the_kernel_refuses_is_told_with_what_is_wrong() {
    let server = Server::start();
    for (source, target) in [("/etc/passwd", "/tmp"), ("/etc", "/etc/passwd")] {
        let mut command = server.zyg("run");
        command.args(["--ro-bind", &format!("{source}:{target}"), "--", "true"]);
        assert_refused(&command.output().unwrap(), 125, &[target, "a file on a file"]);
    }
}

#[test]
fn a_directory_is_126() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    fs::create_dir(place.path().join("sub")).unwrap();
    for name in ["/etc", "/tmp", "./", "./sub", place.path().to_str().unwrap()] {
        assert_refused(&run(&server, place.path(), &[name]), 126, &[name, "directory"]);
    }
}

#[test]
fn an_interpreter_that_is_missing_is_126() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    file(&place.path().join("prog"), "#!/no/such/interpreter\n", 0o755);
    let path = place.path().join("prog");
    for name in ["./prog", path.to_str().unwrap()] {
        assert_refused(&run(&server, place.path(), &[name]), 126, &[name, "interpreter"]);
    }
    let searched = server.zyg("run").env("PATH", place.path()).args(["--", "prog"]).output();
    assert_refused(&searched.unwrap(), 126, &["prog", "interpreter"]);
}

#[test]
fn a_program_of_the_host_that_the_environment_lacks_is_127() {
    let server = Server::start();
    let place = tempfile::tempdir_in(zyg_tests::home()).unwrap();
    file(&place.path().join("prog"), "#!/bin/sh\necho ran\n", 0o755);
    let prog = place.path().join("prog");
    let prog = prog.to_str().unwrap();
    assert_eq!(run(&server, Path::new("/"), &[prog]).stdout, b"ran\n", "the control");
    let mut hidden = server.zyg("run");
    hidden.args(["--tmpfs", place.path().to_str().unwrap(), "--", prog]).current_dir("/");
    assert_refused(
        &hidden.output().unwrap(),
        127,
        &[prog, "on the host", "not in the environment"],
    );
}

#[test]
fn what_the_kernel_does_not_execute_is_126() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    file(&place.path().join("prog"), "#!\n", 0o755);
    let interpreter = format!("#!{}\n", place.path().join("data").display());
    file(&place.path().join("data"), "data", 0o644);
    file(&place.path().join("by-data"), &interpreter, 0o755);
    assert_refused(&run(&server, place.path(), &["./by-data"]), 126, &["Permission denied"]);
}

#[test]
fn a_program_that_the_caller_may_not_reach_is_126() {
    if is_root() {
        return; // Root may reach everything.
    }
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let closed = place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::copy("/bin/true", closed.join("prog")).unwrap();
    let prog = closed.join("prog");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let output = run(&server, Path::new("/"), &[prog.to_str().unwrap()]);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    assert_refused(&output, 126, &["Permission denied"]);
}

#[test]
fn a_working_directory_that_was_deleted_is_told() {
    let server = Server::start();
    for parent in [Path::new("/tmp"), &zyg_tests::home()] {
        let place = tempfile::tempdir_in(parent).unwrap();
        let mut shell = Command::new("sh");
        let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
        let zyg = server.zyg("run");
        shell.args(["-c", script, "sh"]).arg(zyg.get_program()).args(["run", "--", "echo", "ran"]);
        shell.env("ZYG_SOCKET", server.socket()).current_dir(place.path());
        let output = shell.output().unwrap();
        assert_refused(&output, 125, &["current directory", "deleted"]);
    }
}

/// `argv` run in `inside`, after the directory `close`, seen from there, has been closed to all.
fn run_behind_closed(server: &Server, inside: &Path, close: &str, argv: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    let script = "cd \"$0\" && chmod 000 \"$1\" && shift && exec \"$@\"";
    shell.args(["-c", script]).arg(inside).arg(close).args(argv);
    let output = shell.env("ZYG_SOCKET", server.socket()).output().unwrap();
    // Opened from above: what is closed cannot be looked through.
    for path in [inside.parent().unwrap(), inside] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    output
}

/// The command starts there, as it would alone, or it does not start at all: never elsewhere.
#[test]
fn a_working_directory_that_was_closed_is_kept_or_named() {
    let server = Server::start();
    let zyg = server.zyg("run").get_program().to_str().unwrap().to_owned();
    for parent in [Path::new("/tmp"), &zyg_tests::home()] {
        for close in [".", ".."] {
            let place = tempfile::tempdir_in(parent).unwrap();
            let inside = place.path().join("closed/inside");
            fs::create_dir_all(&inside).unwrap();
            let alone = run_behind_closed(&server, &inside, close, &["pwd"]);
            assert_eq!(alone.stdout, format!("{}\n", inside.display()).as_bytes(), "the control");
            let run = run_behind_closed(&server, &inside, close, &[&zyg, "run", "--", "pwd"]);
            if is_root() || run.status.success() {
                assert_eq!((run.stdout, run.stderr), (alone.stdout, alone.stderr));
            } else {
                assert_refused(&run, 125, &[inside.to_str().unwrap(), "Permission denied"]);
            }
        }
    }
}

/// A user who is neither the tests' nor anybody else.
const SOMEBODY: u32 = 12345;

/// A program run as that user.
fn as_somebody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={SOMEBODY}"), format!("--regid={SOMEBODY}")]);
    command.arg("--clear-groups").arg(program);
    command
}

/// A directory of somebody else's, in which the caller has been left by who may enter it.
#[test]
fn a_working_directory_that_the_caller_may_not_enter_is_named() {
    if !is_root() {
        return; // Only root can leave somebody in such a place.
    }
    let place = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let [zyg, runtime, closed] = ["zyg", "runtime", "closed"].map(|name| place.path().join(name));
    assert!(Command::new("cp").arg(zyg_binary()).arg(&zyg).status().unwrap().success());
    fs::create_dir(&runtime).unwrap();
    std::os::unix::fs::chown(&runtime, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    fs::create_dir_all(closed.join("inside")).unwrap();
    fs::write(closed.join("file"), "a secret\n").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let socket = runtime.join("s.sock");
    let mut server = as_somebody(&zyg);
    server.args(["serve", "--socket"]).arg(&socket).stdin(Stdio::null()).stderr(Stdio::null());
    let mut server = server.spawn().unwrap();

    let run_in = |cwd: &Path| {
        let mut command = as_somebody(&zyg);
        command.args(["run", "--socket"]).arg(&socket).args([
            "--",
            "sh",
            "-c",
            "pwd; ls; cat file",
        ]);
        command.current_dir(cwd);
        command.output().unwrap()
    };
    eventually("the control: a run in a directory that all may enter", || {
        run_in(Path::new("/")).stdout.starts_with(b"/\n").then_some(())
    });
    let inside = closed.join("inside");
    let [behind, at] = [&inside, &closed].map(|cwd| run_in(cwd));
    kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM).unwrap();
    server.wait().unwrap();
    assert_refused(&behind, 125, &[inside.to_str().unwrap(), "Permission denied"]);
    // At the closed directory itself, what is in it stays closed, as it would alone.
    let seen = String::from_utf8_lossy(&at.stdout);
    assert!(!at.status.success() && !seen.contains("inside") && !seen.contains("secret"), "{at:?}");
}

#[test]
fn a_closed_standard_error_changes_no_exit_code() {
    let server = Server::start();
    for (name, code) in [("no-such-command", 127), ("/etc", 126)] {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        drop(read);
        let mut command = server.zyg("run");
        command.args(["--", name]).stderr(write).stdout(Stdio::null());
        assert_eq!(command.status().unwrap().code(), Some(code), "{name}");
    }
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    drop(read);
    let mut command = server.zyg("run");
    command.args(["--profile", "nosuch", "--", "true"]).stderr(write);
    assert_eq!(command.status().unwrap().code(), Some(125));
}

#[test]
fn a_limit_that_cannot_be_had_is_refused_by_name() {
    let server = Server::start();
    for (option, value) in [("--memory", "1G"), ("--cpus", "2"), ("--pids-limit", "100")] {
        let output = server.zyg("run").args([option, value, "--", "echo", "ran"]).output().unwrap();
        assert_refused(&output, 125, &[option, "cannot be had"]);
    }
}

#[test]
fn a_command_line_that_zyg_does_not_understand_runs_nothing() {
    let server = Server::start();
    for wrong in [
        &["--no-such-option", "--", "echo", "ran"][..],
        &["--no-such-option", "echo", "ran"],
        &["--timeout", "soon", "--", "echo", "ran"],
        &["--timeout", "-1s", "--", "echo", "ran"],
        &["--json-status-fd", "x", "--", "echo", "ran"],
        &["--hostname"],
        &["--"],
        &[],
    ] {
        let output = server.zyg("run").args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong:?}: {output:?}");
    }
}
