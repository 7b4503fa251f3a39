//! What the kernel tells of a network namespace: the evidence that nothing has happened in it.
//!
//! A lease holds no capability over its network namespace, so it can change no device, address, route
//! or setting. What it can change are sockets, which the kernel counts, of every family and wherever
//! their descriptors are; what they leave, TIME_WAIT, flow labels and the key of TCP fast open; and
//! counters: whatever leaves a socket, or cannot leave it, is counted, and what else it leaves behind
//! (TCP metrics, path MTUs, fragments) comes of that. No counter can be set back. So an account is
//! either, byte for byte, that of a new namespace, or that of one to be destroyed.
//!
//! The sockets of a command are of the families that its filter lets through; of others, such as
//! `AF_CAN`, there is more to tell than is looked at here.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::read;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use zyg_protocol::message::Fate;

/// Why a network namespace cannot be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Sockets are left, or connections in TIME_WAIT.
    Sockets,
    /// Something was sent or received, or could not be.
    Traffic,
    /// It tells something else than a new one does.
    Other,
    /// It could not be looked at, or there is no account of a new one.
    Unknown,
}

impl From<Doubt> for Fate {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Sockets => Self::NetworkWithSockets,
            Doubt::Traffic => Self::NetworkWithTraffic,
            Doubt::Other => Self::NetworkChanged,
            Doubt::Unknown => Self::NetworkUnseen,
        }
    }
}

/// How many sockets there are (proc_net(5)). Its other numbers are in part the whole machine's.
const SOCKETS: &CStr = c"/proc/self/net/sockstat";

/// The rest, and what is to be concluded from a difference. Those that differ most often come first.
/// Without IPv6 some do not exist.
const FILES: [(&CStr, Doubt); 5] = [
    (c"/proc/self/net/snmp", Doubt::Traffic),
    (c"/proc/self/net/snmp6", Doubt::Traffic),
    // Also packets that IP sends by itself, as for members of multicast groups.
    (c"/proc/self/net/netstat", Doubt::Traffic),
    // Routes made for sockets that were connected to something, which need not have sent anything.
    (c"/proc/self/net/rt6_stats", Doubt::Other),
    // They outlast their socket (IPV6_FLOWLABEL_MGR, RFC 3542).
    (c"/proc/self/net/ip6_flowlabel", Doubt::Other),
];

/// The key of TCP fast open, in a procfs. Any listener that asks for it (`TCP_FASTOPEN`, tcp(7)) makes one
/// where there is none, and it lasts. It is told to holders of `CAP_NET_ADMIN`, and to root.
const KEY: &CStr = c"sys/net/ipv4/tcp_fastopen_key";

/// Bytes of the largest of these, with room for what later kernels add: 4 KiB in Linux 6.18.
const FILE_BYTES_MAX: usize = 32 * 1024;

/// The account of a network namespace in which nothing has happened.
#[derive(Debug, Default)]
pub(super) struct Account {
    files: [Vec<u8>; FILES.len()],
    key: Vec<u8>,
}

impl Account {
    /// That of the caller's own network namespace, a new one. Its settings are read in a procfs of which
    /// the caller has the rights (see `network`).
    pub fn of_new(procfs: BorrowedFd<'_>) -> Result<Self, Doubt> {
        let mut buffer = [0; FILE_BYTES_MAX];
        let mut account = Self::default();
        no_socket_is_left(&mut buffer)?;
        for (content, (path, _)) in account.files.iter_mut().zip(FILES) {
            content.extend_from_slice(content_of(AT_FDCWD, path, &mut buffer)?);
        }
        account.key.extend_from_slice(content_of(procfs, KEY, &mut buffer)?);
        Ok(account)
    }

    /// Whether the caller's own network namespace tells the same: 0.15 ms if it does.
    pub fn check(&self, procfs: BorrowedFd<'_>) -> Result<(), Doubt> {
        let mut buffer = [0; FILE_BYTES_MAX];
        no_socket_is_left(&mut buffer)?;
        for (new, (path, doubt)) in self.files.iter().zip(FILES) {
            if content_of(AT_FDCWD, path, &mut buffer)? != new {
                return Err(doubt);
            }
        }
        if content_of(procfs, KEY, &mut buffer)? == self.key { Ok(()) } else { Err(Doubt::Other) }
    }
}

fn no_socket_is_left(buffer: &mut [u8]) -> Result<(), Doubt> {
    match sockets(content_of(AT_FDCWD, SOCKETS, buffer)?) {
        Some(0) => Ok(()),
        Some(_) => Err(Doubt::Sockets),
        None => Err(Doubt::Unknown),
    }
}

/// The sockets in use, of any family, and those in TIME_WAIT: `sockets: used N`, and `tw N` in the line
/// of TCP.
fn sockets(table: &[u8]) -> Option<u64> {
    let table = std::str::from_utf8(table).ok()?;
    let number = |line: &str, name: &str| -> Option<u64> {
        let mut words = table.lines().find(|found| found.starts_with(line))?.split(' ');
        words.find(|word| *word == name)?;
        words.next()?.parse().ok()
    };
    Some(number("sockets:", "used")? + number("TCP:", "tw")?)
}

/// The whole content of a file; nothing for one that does not exist.
fn content_of<'a>(
    at: BorrowedFd<'_>,
    path: &CStr,
    buffer: &'a mut [u8],
) -> Result<&'a [u8], Doubt> {
    let file = match openat(at, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(&[]),
        Err(_) => return Err(Doubt::Unknown),
    };
    let mut bytes = 0;
    loop {
        match read(&file, &mut buffer[bytes..]) {
            Ok(0) if bytes < buffer.len() => return Ok(&buffer[..bytes]),
            Ok(more) if more > 0 => bytes += more,
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return Err(Doubt::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "sockets: used 3\nTCP: inuse 1 orphan 0 tw 2 alloc 9 mem 7\nUDP: inuse 0\n";

    #[test]
    fn sockets_of_any_kind_and_what_waits_are_counted_and_nothing_of_the_machines() {
        assert_eq!(sockets(TABLE.as_bytes()), Some(5));
        assert_eq!(sockets(TABLE.replace("used 3", "used 0").as_bytes()), Some(2));
    }

    #[test]
    fn a_table_that_lacks_a_number_is_no_evidence() {
        for lacking in ["", "sockets: used 0\n", "sockets: used 0\nTCP: inuse 0\n"] {
            assert_eq!(sockets(lacking.as_bytes()), None, "{lacking}");
        }
        assert_eq!(sockets(TABLE.replace("tw 2", "tw x").as_bytes()), None);
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let mut buffer = [0; FILE_BYTES_MAX];
        let whole = content_of(AT_FDCWD, c"/proc/self/net/snmp", &mut buffer).unwrap().len();
        assert!(whole > 100);
        let mut small = [0; 100];
        assert_eq!(content_of(AT_FDCWD, c"/proc/self/net/snmp", &mut small), Err(Doubt::Unknown));
        assert_eq!(content_of(AT_FDCWD, c"/proc/self/net/no-such", &mut buffer), Ok(&[][..]));
        assert_eq!(content_of(AT_FDCWD, c"/proc/self/net", &mut buffer), Err(Doubt::Unknown));
    }
}
