//! Acts by which code gets out of an environment, each tried in every built-in profile, and each
//! beside a control that succeeds outside, so that what is refused is not just broken.
//!
//! The acts are tables, by theme; what they are aimed at is [`Target`], a process of the host that
//! holds one of everything that can be reached: memory, descriptors, sockets, IPC, keys, files.
//! A control that would harm the machine as root is a harmless equivalent of its act.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod acts;
mod controls;
mod files;
mod init;
mod interfaces;
mod mounts;
mod nested;
mod network;
mod others;
mod processes;
mod target;

use acts::{Act, PROFILES, Profile};
use std::collections::BTreeSet;
use target::Target;
use zyg_tests::{Findings, Probe, Server};
use zygote_client::{Lease, LeaseOptions};

const TABLES: [&[Act]; 8] = [
    processes::ACTS,
    init::ACTS,
    network::ACTS,
    files::ACTS,
    mounts::ACTS,
    nested::ACTS,
    controls::ACTS,
    interfaces::ACTS,
];

/// The page that lists what is tried, and where it does.
const PAGE: &str = include_str!("../../../SECURITY.md");
const LIST: &str = "## Acts of escape\n\n";

fn every_act() -> Vec<Act> {
    TABLES.concat()
}

fn acquire(server: &Server, profile: Profile) -> Lease {
    server.client().acquire(LeaseOptions::new().profile(profile.name())).unwrap()
}

/// Tries acts in a lease, and says which of them came out otherwise than the table allows.
fn surprises(probe: &Probe, lease: &Lease, profile: Profile, acts: &[Act]) -> Vec<String> {
    let codes: Vec<_> = acts.iter().map(|act| (act.name, act.whole())).collect();
    let codes: Vec<_> = codes.iter().map(|(name, code)| (*name, code.as_str())).collect();
    let found = probe.inside(lease, &codes);
    acts.iter().filter_map(|act| surprise(act, profile, &found)).collect()
}

fn surprise(act: &Act, profile: Profile, found: &Findings) -> Option<String> {
    let came = found.get(act.name).map_or("nothing", String::as_str);
    let allowed = act.allowed(profile);
    (!allowed.contains(&came)).then(|| {
        format!("{} ({}) in {}: {came}, not {allowed:?}", act.name, act.class, profile.name())
    })
}

/// What is tried and what comes of it, as the page has it.
fn list() -> String {
    let head = "| what is tried | kind | `default` | `networked` | `strict` |\n\
                | --- | --- | --- | --- | --- |\n";
    let rows = every_act().into_iter().map(|act| {
        let [default, networked, strict] = PROFILES.map(|profile| act.allowed(profile).join(", "));
        format!("| {} | {} | {default} | {networked} | {strict} |\n", act.name, act.class)
    });
    head.to_owned() + &rows.collect::<String>()
}

#[test]
fn the_page_lists_the_acts_as_they_are_tried() {
    let listed = PAGE.split_once(LIST).map(|(_, list)| list);
    assert!(listed == Some(&list()), "SECURITY.md must end with:\n{LIST}{}", list());
}

#[test]
fn no_act_reaches_out_of_any_built_in_profile() {
    let acts = every_act();
    let names: BTreeSet<_> = acts.iter().map(|act| act.name).collect();
    assert_eq!(names.len(), acts.len(), "an act's name is used twice");
    let server = Server::start();
    let target = Target::start();
    let probe = target.probe();
    let mut wrong = Vec::new();
    for profile in PROFILES {
        wrong.extend(surprises(&probe, &acquire(&server, profile), profile, &acts));
        wrong.extend(target.changes().iter().map(|path| format!("{}: {path}", profile.name())));
    }
    let controls: Vec<_> = acts.iter().map(|act| (act.name, act.control_outside())).collect();
    let controls: Vec<_> = controls.iter().map(|(name, code)| (*name, code.as_str())).collect();
    for (name, came) in probe.outside(&controls) {
        if came != "ok" {
            wrong.push(format!("{name}: the control came out as {came}"));
        }
    }
    println!(
        "{} acts in {} profiles: {} tried, each with its control",
        acts.len(),
        PROFILES.len(),
        acts.len() * PROFILES.len()
    );
    assert!(acts.len() >= 60);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_working_directory_leads_out_through_a_descriptor_of_init() {
    // CVE-2024-21626: a command's directory was entered while its parent still held descriptors of
    // the host's directories.
    let server = Server::start();
    let target = Target::start();
    let secret = target.secret();
    let look = "for up in . .. ../.. ../../.. ../../../.. ../../../../../..; do
        test -e \"$up/$1\" && echo reached; done; echo looked";
    for profile in PROFILES {
        let lease = acquire(&server, profile);
        let mut entered = 0;
        for number in 0..40 {
            for process in ["self", "1", "thread-self"] {
                let mut shell = lease.command("sh");
                shell.args(["-c", look, "sh", secret.trim_start_matches('/')]);
                shell.current_dir(format!("/proc/{process}/fd/{number}"));
                if let Ok(output) = shell.output() {
                    entered += 1;
                    assert_eq!(
                        output.stdout,
                        b"looked\n",
                        "{process} {number}, {}",
                        profile.name()
                    );
                }
            }
        }
        let mut shell = lease.command("sh");
        shell.args(["-c", look, "sh", "usr"]).current_dir("/tmp");
        let seen = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        assert!(seen.starts_with("reached"), "the control: {seen}, {entered} entered");
    }
}
