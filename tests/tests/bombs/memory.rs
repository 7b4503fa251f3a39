//! Memory, of every kind that is bounded for a process or a place, and of every kind that is not.

use crate::scene::{Scene, assert_limited, profile, server};
use std::fs;
use zyg_tests::eventually;
use zygote_client::LeaseOptions;

#[test]
fn address_space_is_bounded() {
    let code = "burn(refused(lambda _: held.append(mmap.mmap(-1, 64 << 20)), 16))";
    assert_limited("as = \"512M\"", code, "ENOMEM", 64);
}

#[test]
fn private_memory_is_bounded() {
    let code = "burn(refused(lambda _: held.append(mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | \
                mmap.MAP_ANONYMOUS)), 16))";
    assert_limited("data = \"128M\"", code, "ENOMEM", 64);
}

#[test]
fn locked_memory_is_bounded() {
    // 64 KiB is what old kernels allow without a limit.
    let code = "page = mmap.mmap(-1, 1 << 20)\n\
                start = ctypes.addressof(ctypes.c_char.from_buffer(page))\n\
                burn(refused(lambda count: check(libc.mlock(ctypes.c_void_p(start + 4096 * count), \
                4096)), 12))";
    assert_limited("memlock = \"16K\"", code, "ENOMEM", 64);
}

#[test]
fn files_are_bounded_in_size_whatever_they_lie_on() {
    let write = |file: &str| {
        format!(
            "descriptor = {file}\n\
             burn(refused(lambda _: os.write(descriptor, b'x' * 65536), 32))"
        )
    };
    let limit = "fsize = \"1M\"";
    assert_limited(limit, &write("os.open('/tmp/f', os.O_WRONLY | os.O_CREAT)"), "EFBIG", 64);
    assert_limited(limit, &write("os.memfd_create('f')"), "EFBIG", 64);
}

/// What a bomb is made of that fills as much as one lease may have in no way but by cgroups: 64 MiB
/// of each kind.
const EVERY_KIND: &str = r#"
MIB = 1 << 20
def fill(path):
    with open(path, "wb") as file:
        for _ in range(64):
            file.write(b"x" * MIB)

def anonymous():
    held.append(mmap.mmap(-1, 64 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))

def segment():
    libc.shmat.restype = ctypes.c_void_p
    segment = check(libc.shmget(0, ctypes.c_size_t(64 * MIB), 0o600))
    address = libc.shmat(segment, None, 0)
    ctypes.memset(address, 1, 64 * MIB)
    check(libc.shmdt(ctypes.c_void_p(address)))

def memfd():
    held.append(os.memfd_create("f"))
    for _ in range(64):
        os.write(held[-1], b"x" * MIB)

anonymous()
segment()
memfd()
for path in ("/tmp/f", "/dev/shm/f", os.path.expanduser("~/f")):
    fill(path)
files = os.statvfs("/tmp")
assert (files.f_blocks - files.f_bfree) * files.f_frsize >= 192 * MIB
assert int(status("RssAnon").split()[0]) >= 64 * 1024
burn("none 384")
"#;

/// KiB of memory that belong to no file of a disk (proc_meminfo(5)), in use now.
fn occupied() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    of("AnonPages:") + of("Shmem:")
}

#[test]
fn memory_of_every_kind_is_free_when_its_lease_ends() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light(EVERY_KIND);
    // Others on the machine have more or less meanwhile: half is enough to tell.
    let half = 384 * 1024 / 2;
    let peak = occupied();
    scene.assert_unnoticed();
    bomb.end();
    eventually("memory free again", || (occupied() + half < peak).then_some(()));
    scene.assert_restored();
}

#[test]
fn every_private_place_has_its_share_of_one_bound() {
    let small = profile("small", "", "tmp_size = \"8M\"");
    let server = server(&small, &["small"]);
    let mut scene = Scene::of(&server, "small");
    // Each with what the one before has left over: they are one file system.
    let code = "size = 0\ndef act(_):\n global size\n size += os.write(file, b'x' * 65536)\n\
                outcomes = []\n\
                for place in ('/tmp', '/var/tmp', '/dev/shm', '/run', os.path.expanduser('~')):\n \
                file = os.open(place + '/f', os.O_WRONLY | os.O_CREAT)\n \
                outcomes.append(refused(act, 256).split()[0])\n\
                assert len(set(outcomes)) == 1, outcomes\n\
                burn(f'{outcomes[0]} {size >> 20}')";
    for _ in 0..2 {
        let bomb = scene.light(code);
        assert_eq!(bomb.name, "ENOSPC");
        assert!((7..=8).contains(&bomb.count), "{} MiB", bomb.count);
        scene.assert_unnoticed();
        bomb.end();
    }
    let control = scene.light_under("default", code);
    assert_eq!((control.name.as_str(), control.count), ("none", 80));
    control.end();
    scene.assert_restored();
}

#[test]
fn a_clients_own_tmpfs_is_bounded_as_well() {
    let small = profile("small", "", "tmp_size = \"8M\", tmp_inodes = 300");
    let server = server(&small, &["small"]);
    let mut scene = Scene::of(&server, "small");
    let with = |profile: &str| LeaseOptions::new().profile(profile).tmpfs("/tmp/own").to_owned();
    let fill = "file = os.open('/tmp/own/f', os.O_WRONLY | os.O_CREAT)\n\
                burn(refused(lambda _: os.write(file, b'x' * 65536), 256))";
    let create = "burn(refused(lambda count: create(f'/tmp/own/{count}'), 1000))";
    for (code, most) in [(fill, 128), (create, 300)] {
        let bomb = scene.light_in(&with("small"), code);
        assert_eq!(bomb.name, "ENOSPC");
        assert!(bomb.count <= most, "{}", bomb.count);
        scene.assert_unnoticed();
        bomb.end();
        let control = scene.light_in(&with("default"), code);
        assert_eq!(control.name, "none");
        control.end();
    }
    scene.assert_restored();
}
