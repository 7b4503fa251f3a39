//! What is done to init, which has the uid of the commands, and would pass it on.

use crate::residue::{Residue, residue};
use crate::setting::{ALL, CAPABLE, EMPTY, HOSTS, PLAIN};

pub const INIT: &[Residue] = &[
    residue(
        "a limit of init's",
        "resource.prlimit(1, resource.RLIMIT_SIGPENDING, (777, 777))",
        "result = found(resource.prlimit(1, resource.RLIMIT_SIGPENDING) == (777, 777))",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a nice value of init's",
        "os.setpriority(os.PRIO_PROCESS, 1, 7)",
        "result = found(os.getpriority(os.PRIO_PROCESS, 1) == 7)",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a priority of init's input and output",
        "check(libc.syscall(ctypes.c_long(IOPRIO_SET), 1, 1, 3 << 13))",
        "result = found(libc.syscall(ctypes.c_long(IOPRIO_GET), 1, 1) == 3 << 13)",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "a scheduling policy of init's",
        // It has the flag, and only who has privilege takes that away.
        "os.sched_setscheduler(1, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))",
        "policy = os.sched_getscheduler(1) & ~os.SCHED_RESET_ON_FORK\n\
         result = found(policy == os.SCHED_BATCH)",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "init's choice of processors",
        "os.sched_setaffinity(1, {0})",
        "result = found(os.sched_getaffinity(1) == {0})",
    )
    .refused(PLAIN, "EPERM"),
    residue(
        "the priority of init's session",
        "set_autogroup(1)",
        "result = has_line('/proc/1/autogroup', 'nice 7')",
    )
    .refused(EMPTY, "EACCES")
    .refused_to_user(HOSTS, "EACCES"),
    residue(
        "a preference to kill init",
        "write('/proc/1/oom_score_adj', '777')",
        "result = found(read('/proc/1/oom_score_adj').strip() == '777')",
    )
    .refused(EMPTY, "EACCES")
    .refused_to_user(HOSTS, "EACCES"),
    residue(
        "init's name",
        "write('/proc/1/comm', 'zyg-renamed')",
        "result = found(state_of(1)[0] == 'zyg-renamed')",
    )
    .refused_to_root(HOSTS, "EINVAL")
    .refused(EMPTY, "EACCES")
    .refused_to_user(HOSTS, "EACCES"),
    residue("init stopped", "os.kill(1, signal.SIGSTOP)", "result = found(state_of(1)[1] == 'T')")
        .refused(ALL, "clean"),
    residue(
        "init traced",
        "call('ptrace', 16, 1, None, None)",
        "result = found(status('TracerPid', 1) != '0')",
    )
    .refused(ALL, "EPERM"),
    residue(
        "a bound on namespaces",
        "write('/proc/sys/user/max_user_namespaces', '77')",
        "result = found(read('/proc/sys/user/max_user_namespaces').strip() == '77')",
    )
    .refused(PLAIN, "EACCES")
    .refused_to_root(CAPABLE, "EROFS"),
];
