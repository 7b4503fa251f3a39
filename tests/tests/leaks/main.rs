//! Nothing passes from one lease to the next: residues are planted in one and looked for from
//! those that run beside it and those that come after it.
//!
//! A residue is a row of a table ([`residues`]): how to plant it, how to look for it, and where it
//! cannot be planted, by which error. The control is the same look by whoever has just planted it,
//! which must find it. Beside what has a name, each lease's portrait must be that of the first.
//! An environment is a [`Setting`]: each hunts in a server of its own with a pool of four, all of
//! which are leased at a time, so that every slot comes around every fourth lease.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod hunt;
mod residue;
mod residues;
mod setting;

use hunt::{AFTER, Hunt, WHOLE};
use residues::KINDS;
use setting::{AT_ONCE, Setting};
use std::collections::BTreeSet;
use zyg_tests::is_root;

/// How many residues are planted for real, at least, where the server is root's and where it is an
/// ordinary user's. The rest are refused, each by the error that its row names.
struct Least {
    root: usize,
    user: usize,
}

/// Hunts in a profile with further keys.
fn hunt(setting: Setting, keys: &str, least: &Least) -> Hunt {
    let mut hunt = Hunt::start(setting, keys);
    let tally = hunt.run();
    let slots = hunt.slots();
    println!(
        "{}: {} residues planted, {} refused as expected, {} would be the host's own, {} unknown \
         to this kernel; looked for from {} leases, {AFTER} of them after the last; slots filled: \
         {slots:?}",
        setting.profile(),
        tally.planted,
        tally.refused,
        tally.hosts,
        tally.lacking,
        hunt.looked(),
    );
    let least = if is_root() { least.root } else { least.user };
    let planted = tally.planted + tally.lacking;
    assert!(planted >= least, "{planted} residues were planted, not {least}");
    // Another pool may have taken some over, for good.
    let mut filled: Vec<_> = slots.values().copied().collect();
    filled.sort_unstable_by(|a, b| b.cmp(a));
    let seldom = filled.get(AT_ONCE - 1).copied().unwrap_or_default();
    assert!(seldom >= AFTER / AT_ONCE, "slots do not come around: {slots:?}");
    hunt
}

#[test]
fn nothing_is_left_in_default() {
    hunt(Setting::Default, "", &Least { root: 155, user: 152 });
}

#[test]
fn nothing_is_left_where_nothing_is_recycled() {
    hunt(Setting::Default, "recycle = \"none\"\n", &Least { root: 155, user: 152 });
}

#[test]
fn nothing_is_left_where_zygotes_are_used_again() {
    let hunt = hunt(Setting::Default, WHOLE, &Least { root: 155, user: 152 });
    let again = hunt.used_again();
    println!("{again} times a zygote was used again");
    // Of those that had residues of a quiet kind, most have nothing of which init is a witness.
    assert!(again >= 60, "{again} times a zygote was used again");
}

#[test]
fn nothing_is_left_in_strict() {
    hunt(Setting::Strict, "", &Least { root: 134, user: 134 });
}

#[test]
fn nothing_is_left_in_networked() {
    hunt(Setting::Networked, "", &Least { root: 150, user: 147 });
}

#[test]
fn nothing_is_left_where_every_capability_is_kept() {
    hunt(Setting::Capable, "", &Least { root: 191, user: 195 });
}

#[test]
fn nothing_is_left_in_a_slice_that_is_used_again() {
    hunt(Setting::Slice, "", &Least { root: 185, user: 185 });
}

#[test]
fn nothing_is_left_in_a_tree_that_is_writable() {
    hunt(Setting::Overlay, "", &Least { root: 171, user: 163 });
}

#[test]
fn nothing_is_left_where_keys_are_allowed() {
    hunt(Setting::Keys, "", &Least { root: 166, user: 163 });
}

#[test]
fn each_residue_has_a_name_of_its_own() {
    let residues = KINDS.iter().flat_map(|(_, residues)| *residues);
    let names: Vec<_> = residues.map(|residue| residue.name).collect();
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "{names:?}");
}

#[test]
fn a_lease_full_of_residues_ends_at_once() {
    // Processes that ignore every signal, stopped and traced ones, and connections in every state.
    Hunt::start(Setting::Default, "").end_at_once(3);
}
