//! `zyg status`: the counts of every pool.

use crate::cli::Status;
use crate::run::unserved;
use anyhow::Context;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;
use zygote_client::{Connector, PoolStatus};

/// Asks the server and prints what it says. Starts none: a server that is not there has no pools.
pub fn status(status: &Status) -> anyhow::Result<ExitCode> {
    let mut connector = Connector::new();
    connector.start(false);
    if let Some(socket) = status.server.socket.as_deref() {
        connector.socket(socket);
    }
    let client = connector.connect()?;
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
    // A reader that has closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes()).context("failed to print");
    Ok(ExitCode::SUCCESS)
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
        "target": pool.target,
        "served": { "warm": pool.served.warm, "cold": pool.served.cold },
        "failing": pool.failing,
    })
}

fn table(pools: &[PoolStatus]) -> String {
    let heads =
        ["PROFILE", "UID", "WARM", "TARGET", "LEASED", "SPAWNING", "DYING", "WAITERS", "SERVED"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(pools.iter().map(|pool| {
        [
            pool.name.clone(),
            pool.uid.to_string(),
            pool.warm.to_string(),
            pool.target.to_string(),
            pool.leased.to_string(),
            pool.spawning.to_string(),
            pool.dying.to_string(),
            pool.waiters.to_string(),
            format!("{} warm, {} cold", pool.served.warm, pool.served.cold),
        ]
    }));
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for pool in pools {
        if let Some(reason) = &pool.failing {
            text.push_str(&format!(
                "{} for uid {} cannot be built: {reason}\n",
                pool.name, pool.uid
            ));
        }
    }
    text
}
