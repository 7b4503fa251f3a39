//! Commands beside each other in one lease, their descriptors, signals and what they use.

use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use zyg_tests::{Server, eventually, python};
use zygote_client::{Child, Lease, Rlimit, Scope, Stdio};

/// Starts a shell script whose input is piped, and waits until it has printed its first line.
fn started(lease: &Lease, script: &str) -> (Child, String) {
    let mut command = lease.command("sh");
    command.args(["-c", script]).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim_end().to_owned())
}

fn shell(lease: &Lease, script: &str) -> String {
    let output = lease.command("sh").args(["-c", script]).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn commands_of_one_lease_share_files_and_processes() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let (mut one, pid) = started(&lease, "echo $$; read go; echo $go > /tmp/said; read end");
    assert_eq!(pid, one.id().to_string());
    assert_eq!(shell(&lease, &format!("cat /proc/{pid}/comm")), "sh\n");
    writeln!(one.stdin.as_mut().unwrap(), "hello").unwrap();
    eventually("the other command's file", || {
        (shell(&lease, "cat /tmp/said 2>/dev/null || true") == "hello\n").then_some(())
    });
    shell(&lease, &format!("kill -KILL {pid}"));
    assert_eq!(one.wait().unwrap().signal(), Some(9));
}

#[test]
fn many_commands_run_at_once_and_end_in_any_order() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut children: Vec<_> = (0..40)
        .map(|code| (code, started(&lease, &format!("echo; read end; exit {code}")).0))
        .collect();
    let running = shell(&lease, "set -- /proc/[0-9]*; echo $#").trim().parse::<usize>().unwrap();
    assert!(running > 40, "{running}");
    // The last first, and every other one by a thread of its own.
    while let Some((code, mut child)) = children.pop() {
        let mut wait = move || assert_eq!(child.wait().unwrap().code(), Some(code));
        if code % 2 == 0 { wait() } else { std::thread::spawn(wait).join().unwrap() }
    }
}

#[test]
fn descriptors_arrive_under_the_numbers_that_are_asked_for() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut files: Vec<_> = (0..4).map(|_| tempfile::tempfile().unwrap()).collect();
    let numbers = [3, 4, 9, 1023];
    let mut command = lease.command(python());
    let script =
        "import os, sys\nfor number in sys.argv[1:]: os.write(int(number), number.encode())";
    command.args(["-ISc", script]).args(numbers.map(|number| number.to_string())).current_dir("/");
    for (file, number) in files.iter().zip(numbers) {
        command.descriptor(number, file.try_clone().unwrap());
    }
    // Twice: a command can be spawned again.
    for _ in 0..2 {
        assert!(command.status().unwrap().success());
    }
    for (file, number) in files.iter_mut().zip(numbers) {
        let mut content = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, format!("{number}{number}"));
    }
}

#[test]
fn sixty_descriptors_can_be_passed_and_all_63_with_the_streams() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("sh");
    // One more is the list's own.
    command.args(["-c", "ls /proc/self/fd | wc -l"]).current_dir("/");
    for number in 3..63 {
        command.descriptor(number, std::fs::File::open("/dev/null").unwrap());
    }
    assert_eq!(command.output().unwrap().stdout, b"64\n");
}

#[test]
fn a_signal_reaches_the_process_or_the_whole_group() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    // The child notes the signal in a file; the command itself is ended by it.
    let script = "(trap 'echo heard > /tmp/heard; exit' TERM; echo ready; while :; do read line <&3; done) \
                  3<&0 & wait $!; wait $!";
    let heard = || shell(&lease, "cat /tmp/heard 2>/dev/null || true");
    let (mut one, _) = started(&lease, script);
    one.signal(nix::libc::SIGTERM, Scope::Process).unwrap();
    assert_eq!(one.wait().unwrap().signal(), Some(15));
    assert_eq!(heard(), "");
    let (mut two, _) = started(&lease, script);
    two.signal(nix::libc::SIGTERM, Scope::Group).unwrap();
    assert_eq!(two.wait().unwrap().signal(), Some(15));
    eventually("the signal's arrival at the child", || (heard() == "heard\n").then_some(()));
}

#[test]
fn signals_can_be_sent_by_another_thread_while_one_waits() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let (mut child, _) =
        started(&lease, "trap 'exit 3' USR1; echo; while :; do read line <&3; done 3<&0");
    let signals = child.signals();
    let input = child.stdin.take();
    let sender = std::thread::spawn(move || signals.send(nix::libc::SIGUSR1, Scope::Process));
    assert_eq!(child.wait().unwrap().code(), Some(3));
    sender.join().unwrap().unwrap();
    drop(input);
    // Whoever has ended hears nothing, and a number that is no signal is none.
    child.signal(nix::libc::SIGUSR1, Scope::Group).unwrap();
    child.signals().send(12345, Scope::Process).unwrap();
}

#[test]
fn stopping_and_continuing_is_no_end() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let (mut child, pid) = started(&lease, "echo $$; read line");
    let state = || shell(&lease, &format!("sed -n 's/^State:.\\(.\\).*/\\1/p' /proc/{pid}/status"));
    child.signal(nix::libc::SIGSTOP, Scope::Process).unwrap();
    eventually("the stop", || (state() == "T\n").then_some(()));
    assert_eq!(child.try_wait().unwrap(), None);
    child.signal(nix::libc::SIGCONT, Scope::Process).unwrap();
    eventually("going on", || (state() != "T\n").then_some(()));
    writeln!(child.stdin.as_mut().unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn usage_tells_processor_time_and_memory() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let run = |script: &str| {
        let mut command = lease.command(python());
        let mut child = command.args(["-ISc", script]).current_dir("/").spawn().unwrap();
        assert_eq!(child.usage(), None);
        assert!(child.wait().unwrap().success());
        child.usage().unwrap()
    };
    let idle = run("pass");
    let busy = run("import time\nwhile time.process_time() < 0.3: pass\nx = bytearray(64 << 20)");
    let used = Duration::from_micros(busy.user_us + busy.system_us);
    assert!(used >= Duration::from_millis(290), "{busy:?}");
    assert!(busy.wall_us >= busy.user_us, "{busy:?}");
    assert!(busy.max_rss_kib >= idle.max_rss_kib + (60 << 10), "{busy:?} and {idle:?}");
    let waiting = run("import select; select.select([], [], [], 0.2)");
    assert!(waiting.wall_us >= 200_000 && waiting.user_us < waiting.wall_us, "{waiting:?}");
}

#[test]
fn a_sweep_ends_all_the_rest_before_the_end_is_told() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    // Left behind: one that ignores signals and holds the pipe open.
    let script =
        "(trap '' HUP TERM INT; echo ready; while :; do read line <&3; done) 3<&0 & read line";
    let left = |sweep: bool| {
        let mut command = lease.command("sh");
        let mut input = Vec::new();
        command.args(["-c", script]).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.sweep(sweep).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_until(b'\n', &mut input).unwrap();
        child.signal(nix::libc::SIGKILL, Scope::Process).unwrap();
        let keep = child.stdin.take();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let left = shell(&lease, "set -- /proc/[0-9]*; echo $#").trim().parse::<usize>().unwrap();
        drop(keep);
        left
    };
    let without = left(false);
    let with = left(true);
    // The sweep takes the first run's remains along.
    assert_eq!(without, with + 1);
}

#[test]
fn limits_and_the_mask_are_set_for_one_command() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut command = lease.command("sh");
    command.args(["-c", "ulimit -n; umask"]).current_dir("/").umask(0o027);
    command.rlimit(Rlimit { resource: nix::libc::RLIMIT_NOFILE, soft: 33, hard: 44 });
    assert_eq!(command.output().unwrap().stdout, b"33\n0027\n");
    let usual = shell(&lease, "ulimit -n; umask");
    assert!(usual.ends_with("\n0022\n") && !usual.starts_with("33\n"), "{usual}");
}

#[test]
fn a_real_time_signal_arrives_like_any_other() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let mut child = lease.command("sleep").arg("infinity").spawn().unwrap();
    let first = nix::libc::SIGRTMIN();
    child.signal(first, Scope::Process).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(first));
}
