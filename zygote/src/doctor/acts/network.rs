//! The network of an environment: `lo`, up, and every port free to bind.

use super::namespaces::enter_user;
use super::{Doing, Done, Trouble};
use crate::failure::At;
use crate::sys;
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use zyg_protocol::message::Step;

/// Per network namespace since Linux 4.11.
const PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

fn enter_network() -> Result<(), Trouble> {
    enter_user()?;
    unshare(CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
    Ok(sys::net::raise_loopback().at(Step::Loopback)?)
}

pub(super) fn loopback() -> Done {
    enter_network()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("listen on 127.0.0.1")?;
    let address = listener.local_addr().doing("read a socket's address")?;
    TcpStream::connect(address).doing("connect to 127.0.0.1")?;
    Ok("up, and 127.0.0.1 answers".to_owned())
}

pub(super) fn low_ports() -> Done {
    enter_network()?;
    fs::write(PORTS, "0").doing(&format!("write {PORTS}"))?;
    let first = fs::read_to_string(PORTS).doing(&format!("read {PORTS}"))?;
    if first.trim() != "0" {
        return Err(Trouble::plain(format!("{PORTS} is not as it was written: {}", first.trim())));
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 80)).doing("listen on port 80")?;
    Ok("port 80 can be bound".to_owned())
}
