use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// A program that is written by one thread while another forks would be busy (ETXTBSY) for as long
/// as that fork holds the descriptor.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A place with a script in it that plays zyg.
struct Fake {
    place: TempDir,
}

impl Fake {
    fn new(script: &str) -> Self {
        let place = TempDir::new().unwrap();
        let program = place.path().join("zyg");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { place }
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("private")
    }

    fn connect(&self) -> Result<Connected, ConnectError> {
        let program = self.place.path().join("zyg");
        let launch = Launch { program, idle_exit: Duration::from_millis(1500) };
        connect_private(&self.directory(), &launch)
    }
}

impl Drop for Fake {
    /// Lets go of what a script has left behind, reading its fifo.
    fn drop(&mut self) {
        let fifo = self.place.path().join("stay");
        if fifo.exists() {
            std::fs::write(fifo, "").unwrap();
        }
    }
}

#[test]
fn a_server_that_cannot_start_is_quoted() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let fake = Fake::new("echo \"no user namespaces here\" >&2; exit 3");
    let error = fake.connect().unwrap_err();
    let ConnectError::ServerFailed { status, tail, .. } = &error else { panic!("{error}") };
    assert_eq!(status.code(), Some(3));
    assert_eq!(tail, "no user namespaces here");
    assert!(!private_socket(&fake.directory()).exists(), "nothing is left that looks alive");
}

#[test]
fn a_server_that_is_gone_at_once_is_not_waited_for() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let error = Fake::new("exit 0").connect().unwrap_err();
    assert!(matches!(error, ConnectError::ServerLeft { .. }), "{error}");
}

#[test]
fn a_started_server_gets_the_socket_and_nothing_of_ours() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Leaves a process behind that holds the socket until the fifo is opened for writing.
    let fake = Fake::new(
        "here=$(dirname \"$0\")\n\
         { echo \"$@\"; pwd; env; } >\"$here/seen\"; ls -l /proc/self/fd >\"$here/open\"\n\
         mkfifo \"$here/stay\"; exec 3<&0; cat \"$here/stay\" >/dev/null 2>&1 &\n\
         exit 0",
    );
    let first = fake.connect().unwrap();
    assert_eq!(first.log, Some(fake.directory().join(LOG_FILE)));
    let seen = std::fs::read_to_string(fake.place.path().join("seen")).unwrap();
    let lines: Vec<_> = seen.lines().collect();
    let socket = private_socket(&fake.directory());
    let expected = format!(
        "serve --private --socket {} --socket-on-stdin --idle-exit-ms 1500",
        socket.display()
    );
    assert_eq!(lines[..2], [&expected, "/"]);
    let shell_made = ["PWD", "OLDPWD", "SHLVL", "_"];
    for line in &lines[2..] {
        let name = line.split('=').next().unwrap();
        assert!(KEPT_VARIABLES.contains(&name) || shell_made.contains(&name), "{line} got through");
    }
    let open = std::fs::read_to_string(fake.place.path().join("open")).unwrap();
    assert!(open.contains(" 0 -> socket:"), "{open}");
    assert!(open.contains(&format!(" 2 -> {}", fake.directory().join(LOG_FILE).display())));
    assert!(!open.contains(&format!("{}", fake.directory().join(LOCK_FILE).display())));
    // The server lives: another client finds it and starts none.
    std::fs::remove_file(fake.place.path().join("zyg")).unwrap();
    fake.connect().unwrap();
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let directory = TempDir::new().unwrap();
    let program = directory.path().join("none");
    let launch = Launch { program: program.clone(), idle_exit: Duration::ZERO };
    let error = connect_private(&directory.path().join("private"), &launch).unwrap_err();
    assert!(matches!(&error, ConnectError::NoProgram(named) if *named == program), "{error}");
    assert!(error.to_string().contains("ZYG_BIN"));
}

#[test]
fn a_socket_that_is_left_over_is_replaced() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("v1.sock");
    drop(listening_socket(&path).unwrap());
    let _listening = listening_socket(&path).unwrap();
    assert!(try_open(&path).unwrap().is_some());
}

#[test]
fn a_directory_is_made_for_the_user_alone() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("zyg");
    claim(&directory).unwrap();
    let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    claim(&directory).unwrap();
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let place = TempDir::new().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
    let problem = claim(place.path()).unwrap_err();
    assert!(matches!(problem, DirectoryProblem::Open { mode: 0o750 }));
    assert!(problem.to_string().contains("chmod 700"));
}

#[test]
fn a_directory_that_its_owner_may_not_enter_is_refused() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("zyg");
    claim(&directory).unwrap();
    // As a umask of 0177 would have made it.
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o600)).unwrap();
    let claimed = claim(&directory);
    if Uid::effective().is_root() {
        claimed.unwrap();
    } else {
        let problem = claimed.unwrap_err();
        assert!(matches!(problem, DirectoryProblem::Closed { mode: 0o600 }));
        assert!(problem.to_string().contains("umask"));
    }
}

#[test]
fn a_link_or_a_file_in_place_of_the_directory_is_refused() {
    let place = TempDir::new().unwrap();
    let (file, link) = (place.path().join("file"), place.path().join("link"));
    std::fs::write(&file, "").unwrap();
    symlink(place.path(), &link).unwrap();
    for path in [file, link] {
        assert!(matches!(claim(&path), Err(DirectoryProblem::NotADirectory)));
    }
}

#[test]
fn a_directory_of_somebody_else_is_refused_by_name() {
    let place = TempDir::new().unwrap();
    // Root owns everything in sight and may give away; everybody else finds `/` foreign.
    let (path, theirs) = if Uid::effective().is_root() {
        std::os::unix::fs::chown(place.path(), Some(12_345), None).unwrap();
        (place.path(), 12_345)
    } else {
        (Path::new("/"), 0)
    };
    let problem = claim(path).unwrap_err();
    assert!(matches!(problem, DirectoryProblem::Foreign { owner, .. } if owner == theirs));
    let error = ConnectError::Directory { path: path.to_owned(), problem }.to_string();
    assert!(error.contains(&format!("{}", path.display())));
    assert!(error.contains(&format!("uid {theirs}")));
}

#[test]
fn a_long_log_is_quoted_from_its_end() {
    let place = TempDir::new().unwrap();
    let log = place.path().join("log");
    std::fs::write(&log, "x".repeat(10_000) + "\nthe reason\n").unwrap();
    let tail = tail(&log);
    assert!(tail.ends_with("the reason") && tail.len() <= TAIL_BYTES as usize);
    assert_eq!(super::tail(&place.path().join("none")), "");
}
