//! Every bound of the wire, each with its unit in its name and its reason beside it.

/// Version of the wire. A peer that speaks another one is refused before its body is looked at.
pub const WIRE_VERSION: u16 = 6;

/// Bytes of one message, header included. Well below the smallest default socket buffer
/// (`net.core.wmem_default`, 212,992 bytes), so that a message that fits always can be sent.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the header before the body.
pub const HEADER_BYTES: usize = 16;

/// Bytes of an [`Exec`](crate::message::Exec) that travels in a sealed memfd because it is too
/// large for one message. The kernel itself refuses more than 6 MiB of arguments and environment
/// (three quarters of `_STK_LIM`, execve(2)); the rest is room for length prefixes.
pub const EXEC_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Descriptors in one message. The kernel allows 253 (`SCM_MAX_FD`, unix(7)); a command with more
/// than its stdio and 60 others has not been met, and each one costs the receiver a slot while it
/// is in flight.
pub const DESCRIPTORS_MAX: usize = 64;

/// Descriptors that one command may be given: one less than a message can carry, since the last
/// one may be the memfd that holds the request itself.
pub const EXEC_DESCRIPTORS_MAX: usize = DESCRIPTORS_MAX - 1;

/// Highest descriptor number that a passed descriptor may get in a command. Keeps a hostile
/// request from growing init's descriptor table: dup2(2) to a number allocates up to it.
pub const TARGET_DESCRIPTOR_MAX: i32 = 1023;

/// Mounts that one acquire may ask for. Each one is a descriptor in the grant, beside the two that
/// every grant carries and up to two that the server adds (working directory, program's directory).
pub const MOUNTS_MAX: usize = DESCRIPTORS_MAX - 4;

/// Bytes of one path (`PATH_MAX`, limits.h).
pub const PATH_BYTES_MAX: usize = 4096;

/// Bytes of a profile's name: it appears in file names, logs and tables.
pub const PROFILE_NAME_BYTES_MAX: usize = 64;

/// Bytes of a lease's label: a test's name with its module path fits, a log file does not.
pub const LABEL_BYTES_MAX: usize = 256;

/// Bytes of a host name (`__NEW_UTS_LEN`, sethostname(2)).
pub const HOSTNAME_BYTES_MAX: usize = 64;

/// Commands that may run at once in one lease. Bounds init's table against a client that starts
/// without end; a test that needs more starts them from a shell of its own.
pub const COMMANDS_MAX: usize = 256;

/// Milliseconds that a waiter may ask to wait: a day. Longer is a mistake in units.
pub const WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Zygotes that one message may ask for: as many acquires as one session may have unanswered.
pub const ACQUIRES_MAX: u32 = 4096;

/// Milliseconds that a reservation may last: a day. Who needs more raises the profile's `min`.
pub const RESERVE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Milliseconds that a drain may leave to the leases in force: a day, for the same reason as a wait.
pub const DRAIN_MS_MAX: u64 = 24 * 60 * 60 * 1000;
