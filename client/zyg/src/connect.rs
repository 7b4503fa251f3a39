//! The server that the user means, and what to say when it does not serve.

use crate::cli::Socket;
use anyhow::Context;
use zygote_client::{Client, Connector};

/// Connects to the server that is there.
pub fn find(server: &Socket) -> anyhow::Result<Client> {
    Ok(connector(server).start(false).connect()?)
}

/// Connects to the server that is there, or to one that is started for this user.
pub fn find_or_start(server: &Socket) -> anyhow::Result<Client> {
    let own = std::env::current_exe().context("failed to find zyg's own program")?;
    Ok(connector(server).zyg(own).connect()?)
}

fn connector(server: &Socket) -> Connector {
    let mut connector = Connector::new();
    if let Some(socket) = server.socket.as_deref() {
        connector.socket(socket);
    }
    connector
}

/// Adds whom we tried to speak to, where the user has named it.
pub fn unserved(error: anyhow::Error, server: &Socket) -> anyhow::Error {
    match server.named() {
        Some(socket) => error.context(format!("failed to be served at {}", socket.display())),
        None => error,
    }
}
