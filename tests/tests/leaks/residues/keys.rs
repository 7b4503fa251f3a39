//! Keys of every kind of keyring (keyrings(7)).

use crate::residue::{Residue, residue};
use crate::setting::{CAPABLE, FILTERED, KEYS as KEYS_ALLOWED};

pub const KEYS: &[Residue] = &[
    residue(
        "a key of the session",
        "add_key(SESSION, b'zyg-session')",
        "result = search_key(SESSION, b'zyg-session')",
    )
    .refused(FILTERED, "EPERM"),
    residue(
        "a key of the user",
        "add_key(USER, b'zyg-user')",
        "result = search_key(USER, b'zyg-user')",
    )
    .refused(FILTERED, "EPERM"),
    residue(
        "a key of the user's session",
        "add_key(USER_SESSION, b'zyg-usersession')",
        "result = search_key(USER_SESSION, b'zyg-usersession')",
    )
    .refused(FILTERED, "EPERM"),
    residue(
        "a key that outlives its session",
        "add_key(persistent(), b'zyg-persistent')",
        "ring = libc.syscall(ctypes.c_long(KEYCTL), 22, -1, PROCESS)
result = search_key(ring, b'zyg-persistent') if ring >= 0 else 'clean'",
    )
    .refused(FILTERED, "EPERM"),
    residue(
        "a key of a process",
        "add_key(PROCESS, b'zyg-process')",
        "result = search_key(PROCESS, b'zyg-process')",
    )
    .refused(FILTERED, "EPERM"),
    residue(
        "a key of a thread",
        "add_key(THREAD, b'zyg-thread')",
        "result = search_key(THREAD, b'zyg-thread')",
    )
    .refused(FILTERED, "EPERM"),
    residue(
        "a named session",
        "
def join():
    check(libc.syscall(ctypes.c_long(KEYCTL), 1, b'zyg-named'))
    check(libc.syscall(ctypes.c_long(KEYCTL), 5, SESSION, 0x3f3f0000))
    add_key(SESSION, b'zyg-within')
named('zyg-keys', join)",
        "child = os.fork()
if child == 0:
    libc.syscall(ctypes.c_long(KEYCTL), 1, b'zyg-named')
    os._exit(search_key(SESSION, b'zyg-within') == 'found')
result = found(os.waitpid(child, 0)[1])",
    )
    .refused(FILTERED, "EPERM"),
    residue(
        "any key that is listed",
        "add_key(SESSION, f'zyg-{key}-listed'.encode())",
        "name = f'zyg-{key}-listed'
result = lasting(lambda: search_key(SESSION, name.encode()), lambda: has_line('/proc/keys', name))",
    )
    .refused(FILTERED, "EPERM")
    // The list is of all keys that the uid may see (proc_keys(5)); those themselves are not found.
    .seen_beside(CAPABLE | KEYS_ALLOWED),
];
