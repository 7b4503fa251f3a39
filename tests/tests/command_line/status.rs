//! `zyg status`: the counts of every pool, for people and for programs.

use nix::unistd::getuid;
use serde_json::{Value, json};
use std::process::Stdio;
use zyg_tests::{Server, Setup, eventually};

fn json_of(server: &Server) -> Value {
    let output = server.zyg("status").arg("--json").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(output.stdout.ends_with(b"}\n"), "one object, one line");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn profile<'a>(status: &'a Value, name: &str) -> &'a Value {
    let profiles = status["profiles"].as_array().unwrap();
    profiles.iter().find(|profile| profile["name"] == name).unwrap()
}

#[test]
fn the_json_has_the_shape_that_is_promised() {
    let server = Server::start();
    let status = json_of(&server);
    assert_eq!(status["version"], 1);
    assert_eq!(status["server"]["pid"], server.pid().as_raw());
    assert_eq!(status["server"]["sessions"], 1);
    assert!(status["server"]["uptime_ms"].is_u64());
    let default = profile(&status, "default");
    assert_eq!(default["uid"], getuid().as_raw());
    for count in ["warm", "leased", "spawning", "dying", "waiters", "target"] {
        assert!(default[count].is_u64(), "{count}: {default}");
    }
    assert_eq!(default["warm"], default["target"]);
    let served = &default["served"];
    assert_eq!(served["warm"].as_u64().unwrap() + served["cold"].as_u64().unwrap(), 1);
    assert!(default["failing"].is_null());
}

#[test]
fn the_counts_follow_what_happens() {
    let pool = "[profile.default.pool]\nmin = 2\nmax = 2\n[profile.small.pool]\nmin = 1\nmax = 1\n";
    let server = Setup::default().config(pool).start();
    let client = server.client();
    let held = [client.lease().unwrap(), client.lease().unwrap()];
    let small = client.acquire(zygote_client::LeaseOptions::new().profile("small")).unwrap();
    let mut waiting = server.zyg("run");
    let waiting = waiting.args(["--", "true"]).stdout(Stdio::null()).spawn().unwrap();
    let status = eventually("a waiter", || {
        let status = json_of(&server);
        (profile(&status, "default")["waiters"] == 1).then_some(status)
    });
    let default = profile(&status, "default");
    assert_eq!((&default["leased"], &default["warm"]), (&json!(2), &json!(0)), "{default}");
    assert_eq!(profile(&status, "small")["leased"], 1);
    drop((held, small));
    assert!(waiting.wait_with_output().unwrap().status.success());
    let status = eventually("nothing leased", || {
        let status = json_of(&server);
        let default = profile(&status, "default");
        (default["leased"] == 0 && default["warm"] == 2 && default["dying"] == 0).then_some(status)
    });
    let served = &profile(&status, "default")["served"];
    assert_eq!(served["warm"].as_u64().unwrap() + served["cold"].as_u64().unwrap(), 3);
}

#[test]
fn the_table_has_a_head_and_a_line_for_each_pool() {
    let config = "[profile.a-longer-name]\n";
    let server = Setup::default().config(config).start();
    let client = server.client();
    drop(client.acquire(zygote_client::LeaseOptions::new().profile("a-longer-name")).unwrap());
    drop(client.lease().unwrap());
    server.wait_warm();
    let output = server.zyg("status").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let table = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    let heads: Vec<_> = lines[0].split_whitespace().collect();
    let words = ["PROFILE", "UID", "WARM", "TARGET", "LEASED", "SPAWNING", "DYING", "WAITERS"];
    assert_eq!(heads[..8], words);
    assert_eq!(heads[8..], ["SERVED"]);
    // Each cell begins where its head does.
    for line in &lines[1..] {
        for head in &heads {
            let at = lines[0].find(head).unwrap();
            assert!(at == 0 || line.as_bytes()[at - 1] == b' ', "{head}: {table}");
            assert_ne!(line.as_bytes()[at], b' ', "{head}: {table}");
        }
        assert!(line.ends_with("cold"), "{line}");
        assert_eq!(line.split_whitespace().nth(1), Some(&*getuid().to_string()));
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let server = Server::start();
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    drop(read);
    let status = server.zyg("status").stdout(write).status().unwrap();
    assert!(status.success());
}
