//! The program that runs is the one that was named, with the arguments that were given.

use crate::run::{same, same_script, same_when};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use zyg_tests::{Server, home};

/// Makes a file that can be executed. Not with a descriptor of this process's: a command that a test
/// beside this one is just starting could still have it, and nobody can execute a file while
/// somebody may write to it (`ETXTBSY`, execve(2)).
pub fn script(path: &Path, content: &str) {
    let write = "rm -f \"$1\"; printf %s \"$2\" >\"$1\"; chmod 755 \"$1\"";
    let written = Command::new("sh").args(["-c", write, "sh"]).arg(path).arg(content).status();
    assert!(written.unwrap().success());
}

/// Makes a copy of a program, likewise.
fn copy(program: &str, path: &Path) {
    assert!(Command::new("cp").arg(program).arg(path).status().unwrap().success());
}

const TELL: &str = "echo \"$0\" $#; printf '<%s>' \"$@\"\n";

#[test]
fn arguments_are_passed_to_the_byte() {
    let server = Server::start();
    let large = "x".repeat(100 * 1024);
    let strange: Vec<&OsStr> = [
        &b""[..],
        b" ",
        b"two words",
        b"two\nlines\n",
        b"*",
        b"$HOME `x` \"q\" 'q' \\",
        b"\xff\xfe\x01",
        b"",
        large.as_bytes(),
    ]
    .map(OsStr::from_bytes)
    .into();
    let seen = same_script(&server, "printf '%s\\0' \"$@\"", &strange);
    let expected: Vec<u8> = strange.iter().flat_map(|a| [a.as_bytes(), b"\0"].concat()).collect();
    assert!(seen.stdout == expected, "{seen:?}");
}

#[test]
fn many_arguments_are_passed() {
    let server = Server::start();
    let many: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let seen = same_script(&server, "echo $# \"$20000\"; printf '%s ' \"$@\"", &many);
    assert!(seen.stdout.starts_with(b"20000 "), "{seen:?}");
}

#[test]
fn what_looks_like_an_option_of_zyg_is_the_commands() {
    let server = Server::start();
    let like =
        ["--", "-t", "--bind", "/a:/b", "--timeout", "1ms", "--help", "-p", "--version", "-"];
    same_script(&server, "printf '%s\\n' \"$@\"", &like);
    // The `--` before the command is a help to readers; without it the command begins at the first
    // word that is no option.
    let words = ["printf", "%s,", "--", "-t", "--tty", "--"];
    let output = server.zyg("run").args(words).output().unwrap();
    let bare = Command::new("printf").args(&words[1..]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&bare.stdout));
}

#[test]
fn a_program_runs_wherever_it_lies() {
    let server = Server::start();
    for parent in [Path::new("/tmp"), Path::new("/var/tmp"), &home()] {
        let place = tempfile::tempdir_in(parent).unwrap();
        let directory = place.path().join("b001");
        fs::create_dir(&directory).unwrap();
        script(&directory.join("prog"), &format!("#!/bin/sh\n{TELL}cat \"${{0%/*}}/data\"\n"));
        fs::write(directory.join("data"), "beside it\n").unwrap();
        // By its whole path from elsewhere, as `go test -exec` runs a test's binary.
        let prog = directory.join("prog").into_os_string();
        let argv = [prog, "a".into(), OsString::new()];
        for cwd in [Path::new("/usr"), Path::new("/tmp"), &home(), place.path(), &directory] {
            let seen = same_when(&server, &argv, |command| command.current_dir(cwd));
            assert!(seen.stdout.ends_with(b"<a><>beside it\n"), "{cwd:?}: {seen:?}");
        }
        // By relative paths.
        for (cwd, name) in [(place.path(), "b001/prog"), (&directory, "./prog")] {
            let seen = same_when(&server, &[name], |command| command.current_dir(cwd));
            assert!(seen.stdout.starts_with(name.as_bytes()), "{seen:?}");
        }
    }
}

#[test]
fn a_program_is_found_by_a_way_back() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let [bin, work] = ["bin", "work"].map(|name| place.path().join(name));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&work).unwrap();
    script(&bin.join("prog"), &format!("#!/bin/sh\n{TELL}"));
    let seen = same_when(&server, &["../bin/prog", "x"], |command| command.current_dir(&work));
    assert_eq!(seen.stdout, b"../bin/prog 1\n<x>");
}

#[test]
fn a_program_straight_in_a_private_place_runs() {
    let server = Server::start();
    for parent in ["/tmp", "/var/tmp"] {
        let file = tempfile::NamedTempFile::new_in(parent).unwrap().into_temp_path();
        fs::remove_file(&file).unwrap();
        copy("/bin/echo", &file);
        let seen = same(&server, &[file.as_os_str(), OsStr::new("hi")]);
        assert_eq!(seen.stdout, b"hi\n");
        assert_eq!(seen.code, 0);
    }
}

#[test]
fn a_binary_is_executed_with_the_name_it_was_called_by() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let prog = place.path().join("prog");
    copy("/bin/cat", &prog);
    // The arguments as the kernel has them, zero bytes between.
    let argv = [prog.as_os_str(), OsStr::new("/proc/self/cmdline")];
    let seen = same(&server, &argv);
    assert!(seen.stdout.starts_with(prog.as_os_str().as_bytes()), "{seen:?}");
}

#[test]
fn a_script_is_run_by_its_interpreter() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let prog = place.path().join("prog");
    let own = place.path().join("own-interpreter");
    script(&own, "#!/bin/sh\nprintf '[%s]' \"$@\"\n");
    let through_own = format!("#!{} with one argument\n", own.display());
    let plain = format!("#!/bin/sh\n{TELL}");
    let searched = format!("#!/usr/bin/env sh\n{TELL}");
    for content in [&plain, &searched, &through_own, "#!/bin/cat\nits text\n"] {
        script(&prog, content);
        let seen = same(&server, &[&prog]);
        assert!(seen.code == 0 && !seen.stdout.is_empty(), "{content:?}: {seen:?}");
    }
}

/// execvp(3): a file of no known format is a script for sh(1). Alone, `env` is who calls it, since
/// the language's own library does not.
#[test]
fn a_script_without_an_interpreter_is_run_by_the_shell() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let prog = place.path().join("prog");
    script(&prog, TELL);
    let zyg = server.zyg("run").arg("--").arg(&prog).args(["a", "b c"]).output().unwrap();
    let bare = Command::new("env").arg(&prog).args(["a", "b c"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&zyg.stdout), String::from_utf8_lossy(&bare.stdout));
    assert!(zyg.stdout.ends_with(b" 2\n<a><b c>"), "{zyg:?}");
    // Searched for in PATH, too.
    let found = server.zyg("run").args(["--", "prog", "x"]).env("PATH", place.path()).output();
    assert!(found.unwrap().stdout.starts_with(place.path().as_os_str().as_bytes()));
}

#[test]
fn a_program_is_searched_in_path_in_order() {
    let server = Server::start();
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let [first, second] = ["1", "2"].map(|name| place.path().join(name));
    for directory in [&first, &second] {
        fs::create_dir(directory).unwrap();
    }
    script(&second.join("prog"), "#!/bin/sh\necho second\n");
    let path = std::env::join_paths([Path::new("/no/such"), &first, &second]).unwrap();
    let run = |cwd: &Path, path: &OsStr| {
        let mut command = server.zyg("run");
        let output = command.args(["--", "prog"]).env("PATH", path).current_dir(cwd).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(run(Path::new("/"), &path), "second\n");
    script(&first.join("prog"), "#!/bin/sh\necho first\n");
    assert_eq!(run(Path::new("/"), &path), "first\n");
    fs::set_permissions(first.join("prog"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(Path::new("/"), &path), "second\n", "what cannot be executed is passed over");
    assert_eq!(run(&second, OsStr::new("")), "second\n", "an empty PATH is the current directory");
    assert_eq!(run(&second, OsStr::new("/no/such:.")), "second\n");
}

#[test]
fn a_program_is_reached_through_links() {
    let server = Server::start();
    let (temporary, at_home) =
        (tempfile::tempdir_in("/tmp").unwrap(), tempfile::tempdir_in(home()).unwrap());
    let real = temporary.path().join("real");
    fs::create_dir(&real).unwrap();
    script(&real.join("prog"), "#!/bin/sh\necho ran\n");
    let [in_place, from_home, to_file] = [
        temporary.path().join("link"),
        at_home.path().join("link"),
        temporary.path().join("prog-link"),
    ];
    symlink("real", &in_place).unwrap();
    symlink(&real, &from_home).unwrap();
    symlink("/bin/echo", &to_file).unwrap();
    for prog in [in_place.join("prog"), from_home.join("prog"), to_file] {
        let seen = same(&server, &[&prog]);
        assert_eq!(seen.code, 0, "{prog:?}: {seen:?}");
    }
}
