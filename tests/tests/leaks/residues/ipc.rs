//! What lives in the kernel without a process: System V's (sysvipc(7)) and POSIX's objects.

use crate::residue::{Residue, residue};
use crate::setting::{HOSTS, PLAIN, STRICT};

pub const IPC: &[Residue] = &[
    residue(
        "shared memory",
        "check(libc.shmget(key, 4096, 0o1600))",
        "result = found(libc.shmget(key, 0, 0) >= 0)",
    ),
    residue(
        "shared memory that is attached and marked for removal",
        "
def attach():
    identity = check(libc.shmget(0, 12288, 0o1600))
    libc.shmat.restype = ctypes.c_void_p
    assert libc.shmat(identity, None, 0) > 0
    check(libc.shmctl(identity, 0, None))
named('zyg-shm', attach)",
        "sizes = [line.split()[3] for line in read('/proc/sysvipc/shm').splitlines()[1:]]
result = found('12288' in sizes)",
    ),
    residue(
        "semaphores",
        "check(libc.semget(key, 3, 0o1600))",
        "result = found(libc.semget(key, 0, 0) >= 0)",
    ),
    residue(
        "a semaphore to be undone",
        "
def take():
    identity = check(libc.semget(key + 1, 1, 0o1600))
    check(libc.semop(identity, struct.pack('Hhh', 0, 1, 0x1000), ctypes.c_size_t(1)))
named('zyg-undo', take)",
        "identity = libc.semget(key + 1, 0, 0)
result = found(identity >= 0 and libc.semctl(identity, 0, 12) == 1)",
    ),
    residue(
        "a message queue with a message",
        "queue = check(libc.msgget(key, 0o1600))
check(libc.msgsnd(queue, (ctypes.c_long * 2)(1, 2), ctypes.c_size_t(8), 0))",
        "result = found(libc.msgget(key, 0) >= 0)",
    ),
    residue(
        "used up numbers of System V's objects",
        "
for _ in range(5):
    identity = check(libc.shmget(0, 4096, 0o1600))
    check(libc.shmctl(identity, 0, None))",
        "identity = check(libc.shmget(0, 4096, 0o1600))
check(libc.shmctl(identity, 0, None))
result = found(identity >= 5)",
    ),
    residue(
        "a POSIX queue with a message",
        "queue = new_queue(b'/zyg-residue')
check(libc.mq_send(queue, b'x', ctypes.c_size_t(1), 0))",
        "result = found(libc.mq_open(b'/zyg-residue', os.O_RDWR) >= 0)",
    ),
    residue(
        "a POSIX queue that notifies",
        "
def register():
    queue = new_queue(b'/zyg-notified')
    check(libc.mq_notify(queue, struct.pack('QiiQQQQQQ', 0, signal.SIGUSR1, 1, 0, 0, 0, 0, 0, 0)))
    return queue
named('zyg-notify', register)",
        "queue = libc.mq_open(b'/zyg-notified', os.O_RDWR)
none = struct.pack('QiiQQQQQQ', 0, 0, 1, 0, 0, 0, 0, 0, 0)
result = found(queue >= 0 and libc.mq_notify(queue, none) < 0)",
    ),
    residue(
        "a POSIX semaphore",
        "open_semaphore = libc.sem_open
open_semaphore.restype = ctypes.c_void_p
assert open_semaphore(b'/zyg-residue', os.O_CREAT, 0o600, 0)",
        "open_semaphore = libc.sem_open
open_semaphore.restype = ctypes.c_void_p
result = found(open_semaphore(b'/zyg-residue', 0))",
    ),
    residue(
        "POSIX shared memory",
        "file = check(libc.shm_open(b'/zyg-memory', os.O_RDWR | os.O_CREAT, 0o600))
os.ftruncate(file, 4096)",
        "result = found(libc.shm_open(b'/zyg-memory', os.O_RDWR, 0) >= 0)",
    ),
    residue(
        "a bound on shared memory",
        "write('/proc/sys/kernel/shmmni', '1234')",
        "result = found(read('/proc/sys/kernel/shmmni').strip() == '1234')",
    )
    .refused_to_root(HOSTS, "EROFS")
    .refused(STRICT, "EACCES")
    .refused_to_user(HOSTS & PLAIN, "EACCES"),
    residue(
        "a bound on POSIX queues",
        "write('/proc/sys/fs/mqueue/queues_max', '123')",
        "result = found(read('/proc/sys/fs/mqueue/queues_max').strip() == '123')",
    )
    .refused_to_root(HOSTS, "EROFS")
    .refused(STRICT, "EACCES")
    .refused_to_user(HOSTS & PLAIN, "EACCES"),
];
