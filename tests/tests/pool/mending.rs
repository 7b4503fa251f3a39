//! Profiles that cannot be built: by a configuration that is no good, which costs nobody what the one
//! before gives, or by a host that has changed, which is looked at again.

use crate::shared::{hostname, pool, reload};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;
use zyg_tests::{Baseline, Server, Setup, eventually};
use zygote_client::{AcquireError, Client, Denial, Lease, LeaseOptions, PoolStatus};

/// A root with what things are mounted on there.
fn make_root(server: &Server) -> PathBuf {
    let root = server.directory().join("root");
    for name in ["bin", "dev", "etc", "lib", "lib64", "proc", "run", "sys", "tmp", "usr", "var/tmp"]
    {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    root
}

/// A profile that shows the host's programs in a root of its own.
fn rooted(root: &Path, host: &str) -> String {
    let binds: Vec<String> = ["/usr", "/bin", "/lib", "/lib64"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .map(|path| format!("{{ source = \"{path}\", target = \"{path}\", read_only = true }}"))
        .collect();
    format!(
        "{}[profile.rooted]\nroot = \"{}\"\nhostname = \"{host}\"\nbind = [{}]\n\
         pool = {{ min = 2, max = 8 }}\n",
        pool(1, 8),
        root.display(),
        binds.join(", "),
    )
}

fn ask(client: &Client) -> Result<Lease, AcquireError> {
    client.acquire(LeaseOptions::new().profile("rooted"))
}

fn rows(client: &Client) -> Vec<PoolStatus> {
    let rows = client.status().unwrap().profiles.into_iter();
    rows.filter(|row| row.name == "rooted").collect()
}

fn wait_warm(client: &Client, generation: u32) {
    eventually("a warm pool", || {
        let rows = rows(client);
        rows.iter().any(|row| row.generation == generation && row.warm >= 2).then_some(())
    });
}

/// Waits until one is denied: what was warm before is had first.
fn wait_denied(client: &Client) {
    eventually("a denial", || match ask(client) {
        Ok(_) => None,
        Err(AcquireError::Denied(Denial::BuildFailing { reason })) => {
            assert!(reason.contains("root") || reason.contains("/proc"), "{reason}");
            Some(())
        }
        Err(other) => panic!("{other:?}"),
    });
}

#[test]
fn a_configuration_that_cannot_be_built_does_not_take_the_place_of_one_that_can() {
    let server = Setup::default().config(&pool(1, 8)).start_warm();
    let baseline = Baseline::of(&server);
    let client = server.client();
    let root = make_root(&server);
    reload(&server, &rooted(&root, "old"));
    assert_eq!(hostname(&ask(&client).unwrap()), "old");
    wait_warm(&client, 0);
    reload(&server, &rooted(Path::new("/no/such/root"), "new"));
    eventually("the failure", || {
        let failing = |row: &PoolStatus| row.generation == 1 && row.failing.is_some();
        rows(&client).iter().any(failing).then_some(())
    });
    // More than were warm.
    for _ in 0..6 {
        assert_eq!(hostname(&ask(&client).unwrap()), "old");
    }
    let log = server.log();
    assert!(log.contains("/no/such/root"), "{log}");
    assert!(log.contains("generation 0 stays in force for profile rooted"), "{log}");
    // Nor does another one that cannot be, nor the same one again.
    for config in ["/no/such/root", "/nor/this"] {
        reload(&server, &rooted(Path::new(config), "new"));
        eventually("the failure", || {
            let failing = rows(&client).into_iter().find_map(|row| row.failing);
            failing.filter(|reason| reason.contains(config))
        });
        assert_eq!(hostname(&ask(&client).unwrap()), "old");
    }
    // The next one that can be built is taken.
    reload(&server, &rooted(&root, "new"));
    eventually("the new one", || (hostname(&ask(&client).unwrap()) == "new").then_some(()));
    reload(&server, &pool(1, 8));
    eventually("the end of the profile", || rows(&client).is_empty().then_some(()));
    drop(client);
    baseline.assert_restored();
}

#[test]
fn a_root_that_was_made_again_is_found() {
    let server = Setup::default().config(&pool(1, 8)).start_warm();
    let client = server.client();
    let root = make_root(&server);
    reload(&server, &rooted(&root, "host"));
    drop(ask(&client).unwrap());
    wait_warm(&client, 0);
    let old = root.with_file_name("old");
    fs::rename(&root, &old).unwrap();
    fs::remove_dir_all(&old).unwrap();
    wait_denied(&client);
    make_root(&server);
    eventually("service again", || {
        let found = ask(&client).ok().map(|lease| lease.command("true").status().is_ok());
        found.filter(|found| *found)
    });
    eventually("a warm pool", || rows(&client).iter().any(|row| row.warm >= 2).then_some(()));
}

/// What is warm shows the old one, and is used up first; what is made then shows the new one.
#[test]
fn a_root_that_was_exchanged_is_found_by_a_reload() {
    let server = Setup::default().config(&pool(1, 8)).start_warm();
    let client = server.client();
    let root = make_root(&server);
    let config = rooted(&root, "host");
    let seen = || {
        let lease = ask(&client).unwrap();
        let output = lease.command("ls").arg("/").output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().any(|name| name == "mark")
    };
    reload(&server, &config);
    assert!(!seen());
    wait_warm(&client, 0);
    fs::rename(&root, root.with_file_name("old")).unwrap();
    make_root(&server);
    fs::create_dir(root.join("mark")).unwrap();
    reload(&server, &config);
    eventually("the other root", || seen().then_some(()));
}

/// An environment that cannot be made costs those that can be made nothing, and is told with its reason.
#[test]
fn what_fails_now_and_then_is_not_given_up() {
    let server = Setup::default().config(&pool(1, 8)).start_warm();
    let client = server.client();
    let root = make_root(&server);
    let (there, away) = (root.join("proc"), root.join("away"));
    reload(&server, &rooted(&root, "host"));
    drop(ask(&client).unwrap());
    wait_warm(&client, 0);
    let start = Instant::now();
    for _ in 0..20 {
        fs::rename(&there, &away).unwrap();
        eventually("a failure", || match ask(&client) {
            Ok(_) => None,
            Err(AcquireError::Denied(Denial::BuildFailing { reason })) => {
                assert!(reason.contains("/proc"), "{reason}");
                Some(())
            }
            Err(other) => panic!("{other:?}"),
        });
        fs::rename(&away, &there).unwrap();
        eventually("service", || ask(&client).ok());
    }
    // Once in a second at the most, and not for each failure.
    let generation = rows(&client).iter().map(|row| row.generation).max().unwrap();
    assert!(u64::from(generation) <= start.elapsed().as_secs() + 1, "{generation}");
}

#[test]
fn a_reload_tries_at_once_what_fails() {
    let server = Setup::default().config(&pool(1, 8)).start_warm();
    let client = server.client();
    let root = server.directory().join("root");
    let config = rooted(&root, "host");
    reload(&server, &config);
    wait_denied(&client);
    make_root(&server);
    reload(&server, &config);
    assert_eq!(hostname(&ask(&client).expect("whatever wait was left")), "host");
    assert_eq!(rows(&client).last().unwrap().failing, None);
}

#[test]
fn what_is_no_file_is_not_read_again() {
    let server = Setup::default().config(&pool(3, 8)).start_warm();
    let path = server.directory().join("zyg.toml");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refusals = || server.log().matches("not reloaded").count();
    server.signal(Signal::SIGHUP);
    eventually("the refusal", || (refusals() == 1).then_some(()));
    assert!(server.log().contains("zyg.toml again: it is not a regular file"), "{}", server.log());
    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("the refusal", || (refusals() == 2).then_some(()));
    drop(server.client().lease().unwrap());
    assert_eq!(server.pool().target, 3, "the old one stays");
}
