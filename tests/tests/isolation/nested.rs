//! User namespaces of a command's own: every capability in them, and still no way to what the
//! environment covers, nor to the host.

use std::process::{Child, Command, Stdio};
use zyg_tests::{Probe, Refused, Server, is_root};

/// The control of the acts on mounts: on a mount of one's own the same act succeeds.
const OWN: &str = "nest(); mount('x', '/tmp', 'tmpfs'); umount('/tmp', MNT_DETACH)";

#[test]
fn what_is_covered_cannot_be_uncovered() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let covered = |act, code| Refused { act, code, inside: &["EINVAL", "EPERM"], control: OWN };
    let rows = [
        covered("unmount /proc", "nest(); umount('/proc', MNT_DETACH)"),
        covered("unmount /proc without detaching", "nest(); umount('/proc')"),
        covered("unmount /sys", "nest(); umount('/sys', MNT_DETACH)"),
        covered("unmount /tmp", "nest(); umount('/tmp', MNT_DETACH)"),
        covered("unmount /var/tmp", "nest(); umount('/var/tmp', MNT_DETACH)"),
        covered("unmount /run", "nest(); umount('/run', MNT_DETACH)"),
        covered("unmount /dev/shm", "nest(); umount('/dev/shm', MNT_DETACH)"),
        covered("unmount /dev/pts", "nest(); umount('/dev/pts', MNT_DETACH)"),
        covered("unmount /dev/null", "nest(); umount('/dev/null', MNT_DETACH)"),
        covered("unmount /usr", "nest(); umount('/usr', MNT_DETACH)"),
        covered("unmount /", "nest(); umount('/', MNT_DETACH)"),
        covered("unmount home", "import pwd\nnest(); umount(pwd.getpwuid(uid).pw_dir, MNT_DETACH)"),
        covered("move /proc away", "nest(); mount('/proc', '/tmp', None, MS_MOVE)"),
        covered("move /tmp away", "nest(); mount('/tmp', '/mnt', None, MS_MOVE)"),
        covered("bind / alone", "nest(); mount('/', '/tmp', None, MS_BIND)"),
        covered("bind /dev alone", "nest(); mount('/dev', '/tmp', None, MS_BIND)"),
        covered("clone / alone", "nest(); call('open_tree', -100, b'/', 1)"),
        covered("clone /dev alone", "nest(); call('open_tree', -100, b'/dev', 1)"),
        covered(
            "unmount /proc in a copy of the tree",
            "nest(); mount('/', '/tmp', None, MS_BIND | MS_REC); umount('/tmp/proc', MNT_DETACH)",
        ),
        covered(
            "move /proc out of a copy of the tree",
            "nest(); mount('/', '/tmp', None, MS_BIND | MS_REC)
mount('/tmp/proc', '/mnt', None, MS_MOVE)",
        ),
        covered(
            "unmount /proc below a detached copy",
            "nest(); tree = call('open_tree', -100, b'/', 0x8001)
os.fchdir(tree); umount('proc', MNT_DETACH)",
        ),
        Refused {
            act: "layer over what hides something",
            code: "os.mkdir('/tmp/u'); os.mkdir('/tmp/w'); nest()
mount('x', '/mnt', 'overlay', 0, 'lowerdir=/,upperdir=/tmp/u,workdir=/tmp/w')",
            // EACCES as root, whose uid cannot be mapped there.
            inside: &["EINVAL", "EPERM", "EACCES"],
            control: OWN,
        },
    ];
    Probe::new().with("uid", nix::unistd::getuid().as_raw()).assert_refused(&lease, &rows);
}

#[test]
fn read_only_stays_read_only() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let own = "nest(); mount('x', '/tmp', 'tmpfs')
mount('x', '/tmp', None, MS_REMOUNT | MS_BIND | MS_RDONLY)
mount('x', '/tmp', None, MS_REMOUNT | MS_BIND); create('/tmp/x')";
    let fixed = |act, code| Refused { act, code, inside: &["EPERM", "EACCES"], control: own };
    let rows = [
        fixed("/usr", "nest(); mount('x', '/usr', None, MS_REMOUNT | MS_BIND)"),
        fixed("/etc", "nest(); mount('x', '/etc', None, MS_REMOUNT | MS_BIND)"),
        fixed("/", "nest(); mount('x', '/', None, MS_REMOUNT | MS_BIND)"),
        fixed("/sys", "nest(); mount('x', '/sys', None, MS_REMOUNT | MS_BIND)"),
        fixed("/dev/null", "nest(); mount('x', '/dev/null', None, MS_REMOUNT | MS_BIND)"),
        fixed("the whole file system", "nest(); mount('x', '/usr', None, MS_REMOUNT)"),
        fixed(
            "a copy",
            "nest(); mount('/usr', '/tmp', None, MS_BIND)
mount('x', '/tmp', None, MS_REMOUNT | MS_BIND)",
        ),
        fixed(
            "set-user-ID allowed again",
            "nest(); mount('x', '/tmp', None, MS_REMOUNT | MS_BIND | 4)",
        ),
    ];
    Probe::new().assert_refused(&lease, &rows);
    for place in ["/usr", "/etc"] {
        let make = format!("nest()\nos.mkdir('{place}/zyg-test')");
        assert_eq!(Probe::new().one_inside(&lease, &make), "EROFS");
    }
}

/// A process of the host that is easy to find.
struct Marked(Child, String);

impl Marked {
    fn start() -> Self {
        let marker = format!("zyg-marker-{}", std::process::id());
        let mut command = Command::new("sh");
        command.args(["-c", "read line", &marker]).stdin(Stdio::piped());
        Self(command.spawn().unwrap(), marker)
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn no_trick_shows_the_hosts_processes() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let host = Marked::start();
    let probe = Probe::new().with("marker", host.1.clone());
    assert_eq!(probe.one_outside("result = visible(marker)"), "visible", "the control");
    // Whatever a trick fails with: what counts is what can be seen afterwards, anywhere.
    let look = "
def look():
    places = ['/proc', '/tmp/proc', '/mnt', '/tmp/mnt', '/run/proc', '/tmp']
    seen = [place for place in places if os.path.isdir(place + '/1') and
            visible(marker, place) == 'visible']
    for base in ('/proc/../proc', '/proc/self/root/proc', '/proc/self/cwd/proc', '/proc/1/root/proc'):
        try:
            if visible(marker, base) == 'visible':
                seen.append(base)
        except OSError:
            pass
    return seen or 'hidden'
def step(act, *arguments):
    try:
        act(*arguments)
    except OSError:
        pass
";
    let tricks = [
        "",
        "step(umount, '/proc', MNT_DETACH); step(umount, '/proc', MNT_DETACH)",
        "step(mount, '/', '/tmp', None, MS_BIND)",
        "step(mount, '/', '/tmp', None, MS_BIND | MS_REC); step(umount, '/tmp/proc', MNT_DETACH)",
        "step(mount, '/', '/tmp', None, MS_BIND | MS_REC); step(umount, '/tmp/proc')
os.chroot('/tmp'); os.chdir('/')",
        "step(mount, '/proc', '/mnt', None, MS_MOVE)",
        "step(mount, '/proc', '/mnt', None, MS_BIND)",
        "step(mount, 'proc', '/mnt', 'proc'); step(mount, 'proc', '/proc', 'proc')",
        "step(mount, 'x', '/proc', 'tmpfs'); step(umount, '/proc'); step(umount, '/proc')",
        "os.mkdir('/tmp/old'); mount('/tmp', '/tmp', None, MS_BIND); os.chdir('/tmp')
step(call, 'pivot_root', b'/tmp', b'/tmp/old'); step(umount, '/old/proc', MNT_DETACH)
step(os.chdir, '/old')",
        "os.chdir('/proc'); step(umount, '/proc', MNT_DETACH); os.chdir('..'); os.chroot('.')",
        "root = os.open('/', os.O_RDONLY); os.mkdir('/tmp/jail'); os.chroot('/tmp/jail'); os.fchdir(root)
[os.chdir('..') for _ in range(9)]; os.chroot('.')",
        "tree = None
try: tree = call('open_tree', -100, b'/', 0x8001)
except OSError: pass
if tree is not None: step(call, 'move_mount', tree, b'', -100, b'/tmp', 4); step(umount, '/tmp/proc', 2)",
        "unshare(CLONE_NEWPID)
if os.fork() == 0:
    step(mount, 'proc', '/proc', 'proc'); step(umount, '/proc'); step(umount, '/proc', MNT_DETACH)
    os._exit(0 if look() == 'hidden' else 1)
assert os.wait()[1] == 0",
        "os.mkdir('/tmp/u'); os.mkdir('/tmp/w'); os.mkdir('/tmp/mnt')
step(mount, 'x', '/tmp/mnt', 'overlay', 0, 'lowerdir=/proc,upperdir=/tmp/u,workdir=/tmp/w')",
        "step(unshare, CLONE_NEWUSER | CLONE_NEWNS); step(umount, '/proc', MNT_DETACH)
step(mount, '/', '/tmp', None, MS_BIND | MS_REC); step(umount, '/tmp/proc', MNT_DETACH)",
    ];
    for trick in tricks {
        let act = format!("{look}\nnest()\n{trick}\nresult = look()");
        assert_eq!(probe.one_inside(&lease, &act), "hidden", "after: {trick}");
    }
    // The control: a process with the same marks, inside, is seen by the same look.
    let mut own = lease.command("sh");
    own.args(["-c", "read line", &host.1]).current_dir("/").stdin(zygote_client::Stdio::piped());
    let mut own = own.spawn().unwrap();
    let seen = probe.one_inside(&lease, &format!("{look}\nnest()\nresult = look()"));
    assert!(seen.starts_with("['/proc'"), "{seen}");
    drop(own.stdin.take());
    own.wait().unwrap();
}

#[test]
fn the_hosts_cgroups_cannot_be_mounted() {
    // Files there are checked by kernel uid, and one write to cgroup.kill ends a whole group.
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    for (kind, options) in
        [("cgroup2", "None"), ("cgroup", "'pids'"), ("cgroup", "'none,name=systemd'")]
    {
        let act = format!("mount('x', '/tmp', '{kind}', 0, {options})");
        let probe = Probe::new();
        for nested in ["nest()", "nest(CLONE_NEWNS | CLONE_NEWCGROUP)"] {
            let found = probe.one_inside(&lease, &format!("{nested}\n{act}"));
            assert!(["EPERM", "ENOSPC"].contains(&found.as_str()), "{nested} {kind}: {found}");
        }
    }
    let control = "nest(CLONE_NEWNS | CLONE_NEWCGROUP); mount('x', '/tmp', 'cgroup2')";
    assert_eq!(Probe::new().one_outside(control), "ok");
}

#[test]
fn new_file_systems_give_no_more_than_what_is_there() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let probe = Probe::new();
    // A new proc is of the caller's own pid namespace, and only where nothing of it is masked.
    let proc = "nest(CLONE_NEWNS | CLONE_NEWPID)
child = os.fork()
if child == 0:
    code = 0
    try:
        mount('proc', '/tmp', 'proc')
        code = 10 + len([name for name in os.listdir('/tmp') if name.isdigit()])
    except OSError as error:
        code = error.errno
    os._exit(code)
result = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])";
    let expected = if is_root() { ["1", "11"] } else { ["11", "11"] };
    let found = probe.one_inside(&lease, proc);
    assert!(expected.contains(&found.as_str()), "{found}");
    // A new sysfs only read-only, as the one that is there.
    let sysfs = "nest(CLONE_NEWNS | CLONE_NEWNET); mount('sysfs', '/tmp', 'sysfs')";
    assert_eq!(probe.one_inside(&lease, sysfs), "EPERM");
    let devices = "nest(); mount('x', '/tmp', 'devpts'); result = os.listdir('/tmp')";
    assert!(["['ptmx']", "EPERM", "EINVAL"].contains(&probe.one_inside(&lease, devices).as_str()));
    assert_eq!(probe.one_inside(&lease, "nest(); mount('/dev/vda', '/tmp', 'ext4')"), "EPERM");
    assert_eq!(probe.one_inside(&lease, "nest(); mount('x', '/tmp', 'devtmpfs')"), "EPERM");
    assert_eq!(
        probe.one_inside(&lease, "nest(); mount('x', '/tmp', 'tmpfs')"),
        "ok",
        "the control"
    );
}

#[test]
fn capabilities_of_a_nested_namespace_reach_nothing_outside_of_it() {
    let server = Server::start();
    let lease = server.client().lease().unwrap();
    let own = "nest(CLONE_NEWUTS); check(libc.sethostname(b'x', 1))";
    let refused =
        |act, code| Refused { act, code, inside: &["EPERM", "EACCES", "EROFS"], control: own };
    let rows = [
        refused("trace init", "nest(); call('ptrace', 0x4206, 1, None, None)"),
        refused("read init's memory", "nest(); os.open('/proc/1/mem', os.O_RDONLY)"),
        refused("enter init's root", "nest(); os.chdir('/proc/1/root/')"),
        refused(
            "take init's descriptor",
            "nest(); call('pidfd_getfd', call('pidfd_open', 1, 0), 3, 0)",
        ),
        refused("join init's mounts", "nest(); os.open('/proc/1/ns/mnt', os.O_RDONLY)"),
        refused("rename the lease's host", "nest(); check(libc.sethostname(b'x', 1))"),
        refused("set a sysctl", "nest(); write('/proc/sys/kernel/core_pattern')"),
        refused("set the clock", "nest(); import time; time.clock_settime(time.CLOCK_REALTIME, 0)"),
        refused(
            "trace init through its pidfd",
            "nest(); call('setns', call('pidfd_open', 1, 0), CLONE_NEWNS)",
        ),
        refused("make a device", "nest(); os.mknod('/tmp/x', stat.S_IFCHR, 259)"),
    ];
    Probe::new().assert_refused(&lease, &rows);
}
