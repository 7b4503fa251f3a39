//! `zyg status`: the counts of every pool.

use crate::cli::Status;
use crate::connect::{find, unserved};
use crate::{EXIT_SUCCESS, print};
use serde_json::{Map, json};
use zygote_client::{Fate, PoolStatus};

/// Asks the server and prints what it says. Starts none: a server that is not there has no pools.
pub fn status(status: &Status) -> anyhow::Result<u8> {
    let client = find(&status.server)?;
    let answer = client.status().map_err(|error| unserved(error.into(), &status.server))?;
    let text = if status.json {
        let profiles: Vec<_> = answer.profiles.iter().map(row).collect();
        let whole = json!({
            "version": 1,
            "server": {
                "pid": answer.pid, "uptime_ms": answer.uptime_ms, "sessions": answer.sessions,
            },
            "profiles": profiles,
        });
        format!("{whole}\n")
    } else {
        table(&answer.profiles)
    };
    print(&text)?;
    Ok(EXIT_SUCCESS)
}

fn row(pool: &PoolStatus) -> serde_json::Value {
    json!({
        "name": pool.name,
        "uid": pool.uid,
        "warm": pool.warm,
        "leased": pool.leased,
        "spawning": pool.spawning,
        "dying": pool.dying,
        "waiters": pool.waiters,
        "quarantined": pool.quarantined,
        "target": pool.target,
        "reserved": pool.reserved,
        "generation": pool.generation,
        "retired": pool.retired,
        "served": { "warm": pool.served.warm, "cold": pool.served.cold },
        "networks": fates(pool, "network"),
        "environments": fates(pool, "environment"),
        "failing": pool.failing,
    })
}

/// What became of what leases have had: used again, or destroyed, and why.
fn fates(pool: &PoolStatus, of: &str) -> serde_json::Value {
    let (mut told, mut destroyed) = (Map::new(), Map::new());
    for fate in Fate::ALL {
        let (what, why) = words(fate);
        if what == of {
            let uses = matches!(why, "recycled" | "kept");
            let counts = if uses { &mut told } else { &mut destroyed };
            counts.insert(why.to_owned(), pool.fates.of(fate).into());
        }
    }
    told.insert("destroyed".to_owned(), destroyed.into());
    told.into()
}

/// What met a fate, and what that is called.
fn words(fate: Fate) -> (&'static str, &'static str) {
    let (network, environment) = ("network", "environment");
    match fate {
        Fate::NetworkRecycled => (network, "recycled"),
        Fate::NetworkKept => (network, "kept"),
        Fate::NetworkWithSockets => (network, "sockets"),
        Fate::NetworkWithTraffic => (network, "traffic"),
        Fate::NetworkChanged => (network, "changed"),
        Fate::NetworkUnseen => (network, "unseen"),
        Fate::NetworkUnused => (network, "unused"),
        Fate::NetworkInExcess => (network, "in_excess"),
        Fate::ZygoteRecycled => (environment, "recycled"),
        Fate::ZygoteNotRenewed => (environment, "not_renewed"),
        Fate::ZygoteWithProcesses => (environment, "processes"),
        Fate::ZygoteWithMounts => (environment, "mounts"),
        Fate::ZygoteWithNamespaces => (environment, "namespaces"),
        Fate::ZygoteInOtherCgroup => (environment, "cgroup"),
        Fate::ZygoteWithOtherInit => (environment, "init"),
        Fate::ZygoteWithNetwork => (environment, "network"),
        Fate::ZygoteUnseen => (environment, "unseen"),
    }
}

/// The table of a human reader: what hardly ever is has a column only when it is.
fn table(pools: &[PoolStatus]) -> String {
    type Cell = fn(&PoolStatus) -> String;
    let mut columns: Vec<(&str, Cell)> = vec![
        ("UID", |pool| pool.uid.to_string()),
        ("WARM", |pool| pool.warm.to_string()),
        ("TARGET", |pool| pool.target.to_string()),
    ];
    if pools.iter().any(|pool| pool.reserved > 0) {
        columns.push(("RESERVED", |pool| pool.reserved.to_string()));
    }
    let under_way: [(&str, Cell); 3] = [
        ("LEASED", |pool| pool.leased.to_string()),
        ("SPAWNING", |pool| pool.spawning.to_string()),
        ("DYING", |pool| pool.dying.to_string()),
    ];
    columns.extend(under_way);
    if pools.iter().any(|pool| pool.quarantined > 0) {
        columns.push(("QUARANTINED", |pool| pool.quarantined.to_string()));
    }
    columns.push(("WAITERS", |pool| pool.waiters.to_string()));
    columns
        .push(("SERVED", |pool| format!("{} warm, {} cold", pool.served.warm, pool.served.cold)));
    let heads = columns.iter().map(|(head, _)| (*head).to_owned());
    let mut rows: Vec<Vec<String>> =
        vec![["PROFILE".to_owned()].into_iter().chain(heads).collect()];
    rows.extend(pools.iter().map(|pool| {
        let cells = columns.iter().map(|(_, cell)| cell(pool));
        [name(pool, pools)].into_iter().chain(cells).collect()
    }));
    let mut text = aligned(&rows);
    for pool in pools {
        if let Some(reason) = &pool.failing {
            let (name, uid) = (&pool.name, pool.uid);
            let serves = match is_next(pool, pools) {
                true => " as it is configured now, and serves on as it was",
                false => "",
            };
            text.push_str(&format!("{name} for uid {uid} cannot be built{serves}: {reason}\n"));
        }
    }
    text
}

/// The profile's name, marked where a later generation of it has taken over, or is about to.
fn name(pool: &PoolStatus, pools: &[PoolStatus]) -> String {
    match (pool.retired, is_next(pool, pools)) {
        (true, _) => format!("{} (retired)", pool.name),
        (_, true) => format!("{} (next)", pool.name),
        _ => pool.name.clone(),
    }
}

/// Whether an earlier generation serves as yet.
fn is_next(pool: &PoolStatus, pools: &[PoolStatus]) -> bool {
    let earlier = |other: &PoolStatus| {
        other.name == pool.name && other.uid == pool.uid && other.generation < pool.generation
    };
    !pool.retired && pools.iter().any(|other| !other.retired && earlier(other))
}

/// Lines whose cells begin below one another.
fn aligned(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str) -> PoolStatus {
        PoolStatus { name: name.into(), uid: 1000, warm: 4, target: 4, ..PoolStatus::default() }
    }

    #[test]
    fn what_is_not_there_has_no_column() {
        let table = table(&[pool("default")]);
        assert_eq!(
            table,
            "PROFILE  UID   WARM  TARGET  LEASED  SPAWNING  DYING  WAITERS  SERVED\n\
             default  1000  4     4       0       0         0      0        0 warm, 0 cold\n"
        );
    }

    #[test]
    fn what_does_not_end_and_who_is_replaced_is_seen() {
        let retired = PoolStatus { retired: true, quarantined: 2, ..pool("default") };
        let table = table(&[retired, pool("default")]);
        let lines: Vec<_> = table.lines().collect();
        let at = lines[0].find("QUARANTINED").unwrap();
        assert!(lines[1].starts_with("default (retired)  1000"), "{table}");
        assert!(lines[1][at..].starts_with("2 ") && lines[2][at..].starts_with("0 "), "{table}");
    }

    #[test]
    fn what_is_reserved_is_seen() {
        let table = table(&[PoolStatus { reserved: 3, ..pool("p") }, pool("default")]);
        let lines: Vec<_> = table.lines().collect();
        let at = lines[0].find("RESERVED").unwrap();
        assert!(lines[1][at..].starts_with("3 ") && lines[2][at..].starts_with("0 "), "{table}");
    }

    #[test]
    fn who_cannot_take_over_is_told_from_who_serves() {
        let failing = Some("no root".to_owned());
        let next = PoolStatus { generation: 3, failing, ..pool("p") };
        let other = PoolStatus { uid: 7, generation: 1, ..pool("p") };
        let table = table(&[next, PoolStatus { generation: 2, ..pool("p") }, other]);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].starts_with("p (next)  1000"), "{table}");
        assert!(lines[2].starts_with("p         1000") && lines[3].starts_with("p    "), "{table}");
        let told =
            "p for uid 1000 cannot be built as it is configured now, and serves on as it was";
        assert_eq!(lines[4], format!("{told}: no root"));
    }

    #[test]
    fn the_json_says_it_all() {
        let told = row(&PoolStatus { reserved: 3, generation: 2, retired: true, ..pool("p") });
        assert_eq!(
            (&told["reserved"], &told["generation"], &told["retired"], &told["quarantined"]),
            (&json!(3), &json!(2), &json!(true), &json!(0))
        );
    }

    #[test]
    fn each_fate_is_told_once() {
        let fates = Fate::ALL.into_iter().zip(1..).collect();
        let told = row(&PoolStatus { fates, ..pool("p") });
        let (networks, environments) = (&told["networks"], &told["environments"]);
        assert_eq!(
            (&networks["recycled"], &networks["destroyed"]["in_excess"]),
            (&json!(1), &json!(8))
        );
        assert_eq!(
            (&environments["recycled"], &environments["destroyed"]["unseen"]),
            (&json!(9), &json!(17))
        );
        let counted = [networks, environments].map(|of| {
            of["destroyed"].as_object().unwrap().len() + of.as_object().unwrap().len() - 1
        });
        assert_eq!(counted, [8, 9]);
    }
}
