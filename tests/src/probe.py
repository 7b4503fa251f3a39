"""What every probe begins with: the kernel's interfaces by name, errors as errno names."""
import ctypes, errno, json, os, signal, socket, stat, sys

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x00020000, 0x20000000, 0x40000000
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWCGROUP = 0x04000000, 0x08000000, 0x02000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 1, 32, 4096, 8192, 16384, 1 << 18
MNT_DETACH = 2


def check(result):
    if result is None or result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def call(name, *arguments):
    return check(libc.syscall(ctypes.c_long(NUMBERS[name]), *arguments))


def encoded(text):
    return None if text is None else text.encode()


def mount(source, target, kind=None, flags=0, options=None):
    check(libc.mount(encoded(source), encoded(target), encoded(kind), ctypes.c_ulong(flags), encoded(options)))


def umount(target, flags=0):
    check(libc.umount2(encoded(target), flags))


def unshare(flags):
    check(libc.unshare(flags))


def nest(flags=CLONE_NEWNS):
    """A user namespace of one's own: without an exec every capability in it is kept."""
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER | flags)
    for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        try:
            write(f"/proc/self/{name}", line)
        except OSError:
            pass  # uid 0 may not be mapped without CAP_SETFCAP (user_namespaces(7)).
    if flags & CLONE_NEWNS:
        mount("none", "/", None, MS_REC | MS_PRIVATE)


def create(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def write(path, text="x"):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read(path):
    with open(path, "rb") as file:
        return file.read().decode(errors="replace")


def status(field, process="self"):
    for line in read(f"/proc/{process}/status").splitlines():
        if line.startswith(field + ":"):
            return line.split(":", 1)[1].strip()


def visible(marker, proc="/proc"):
    """Whether a process with this in its arguments or environment can be found."""
    for entry in os.listdir(proc):
        if entry.isdigit():
            for name in ("cmdline", "environ"):
                try:
                    if marker in read(f"{proc}/{entry}/{name}"):
                        return "visible"
                except OSError:
                    pass
    return "hidden"


def outcome(code):
    """Runs an act: "ok", its `result`, or an errno's name."""
    scope = dict(globals())
    try:
        exec(code, scope)
        return str(scope.get("result", "ok"))
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def attempt(code):
    """Runs an act in a process of its own: its outcome, or a signal."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, outcome(code).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        came = file.read().decode()
    _, ended = os.waitpid(child, 0)
    return came if os.WIFEXITED(ended) else f"signal {os.WTERMSIG(ended)}"


def daemon(setup):
    """Leaves a process behind: of a session of its own, orphaned, without end. Waits until its
    setup is done; what that returns is kept."""
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open("/dev/null", os.O_RDWR)
            for number in range(256):
                if number < 3:
                    os.dup2(null, number)
                elif number != tell:
                    try:
                        os.close(number)
                    except OSError:
                        pass
            kept = [setup()]
            os.write(tell, b"x")
            os.close(tell)
            while kept:
                signal.pause()
        os._exit(0)
    os.close(tell)
    os.wait()
    assert os.read(ready, 1) == b"x", "the daemon could not be set up"
    os.close(ready)


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
