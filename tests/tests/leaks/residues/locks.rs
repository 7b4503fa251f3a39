//! Locks and leases on a file of the host that every environment is shown: they hang on the file,
//! so that leases at the same time see them, and no later one may.

use crate::residue::{Residue, residue};
use crate::setting::{ALL, CAPABLE, PLAIN, SLICE};

pub const LOCKS: &[Residue] = &[
    residue(
        "a lock by flock",
        "
def take():
    file = os.open('/tmp/shared/file', os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
named('zyg-flock', take)",
        "
try:
    fcntl.flock(os.open('/tmp/shared/file', os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)
    result = 'clean'
except BlockingIOError:
    result = 'found'",
    )
    .seen_beside(ALL),
    residue(
        "a lock of a process on a part",
        "named('zyg-posix', lambda: lock(fcntl.F_SETLK, fcntl.F_RDLCK, 11))",
        "result = locked(fcntl.F_GETLK, 11)",
    )
    .seen_beside(ALL),
    residue(
        "a lock of an open file on a part",
        "named('zyg-ofd', lambda: lock(37, fcntl.F_RDLCK, 22))",
        "result = locked(36, 22)",
    )
    .seen_beside(ALL),
    residue(
        "a lock that is waited for",
        "
def wait_for_lock():
    file = os.open('/tmp/shared/other', os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_EX)
    if os.fork() == 0:
        write('/proc/self/comm', 'zyg-waiting')
        fcntl.flock(os.open('/tmp/shared/other', os.O_RDONLY), fcntl.LOCK_EX)
    until(lambda: running('zyg-waiting', 'S') == 'found')
    return file
named('zyg-lock', wait_for_lock)",
        "result = running('zyg-waiting')",
    ),
    residue(
        "a lease on a file",
        "
def take():
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    file = os.open('/tmp/shared/leased', os.O_RDONLY)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    return file
named('zyg-lease', take)",
        "
try:
    os.open('/tmp/shared/leased', os.O_RDONLY | os.O_NONBLOCK)
    result = 'clean'
except BlockingIOError:
    result = 'found'",
    )
    .refused(PLAIN, "EPERM")
    .refused(SLICE, "EACCES")
    .seen_beside(CAPABLE),
    residue(
        "a watch on a directory",
        "
def watch():
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    directory = os.open('/tmp/shared', os.O_RDONLY)
    fcntl.fcntl(directory, fcntl.F_NOTIFY, fcntl.DN_ACCESS | fcntl.DN_MULTISHOT)
    return directory
named('zyg-dnotify', watch)",
        "result = running('zyg-dnotify')",
    ),
];
