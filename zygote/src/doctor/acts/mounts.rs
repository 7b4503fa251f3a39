//! Mounts, in a mount namespace of the step's own.

use super::child::in_clone;
use super::namespaces::enter_mount;
use super::{Doing, Done, Trouble};
use crate::doctor::mountinfo;
use crate::failure::At;
use crate::init::layers;
use crate::sys::mount::{attach, attr, copy_tree, set_attributes};
use crate::users;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::getuid;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zyg_protocol::message::Step;

const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// Where files in memory are mounted: any directory, since it is only covered.
const PLACES: [&str; 4] = ["/tmp", "/run", "/mnt", "/var"];

/// An empty place of the step's own, in memory.
fn scratch() -> Result<PathBuf, Trouble> {
    let place = PLACES.iter().find(|place| Path::new(place).is_dir());
    let place = place.ok_or_else(|| {
        Trouble::with_errno(Errno::ENOENT, format!("none of {} is there", PLACES.join(", ")))
    })?;
    mount(Some("zyg"), *place, Some("tmpfs"), PLAIN, Some("mode=755"))
        .doing(&format!("mount a tmpfs at {place}"))?;
    Ok(PathBuf::from(place))
}

fn make_directory(path: PathBuf) -> Result<PathBuf, Trouble> {
    fs::create_dir(&path).doing(&format!("make {}", path.display()))?;
    Ok(path)
}

fn c_name(path: &Path) -> Result<CString, Trouble> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL).doing("name a path")
}

pub(super) fn private_tree() -> Done {
    enter_mount()?;
    let text = fs::read_to_string("/proc/self/mountinfo").doing("read /proc/self/mountinfo")?;
    let mounts = mountinfo::parse(&text);
    match mounts.iter().find(|mount| mount.propagates) {
        Some(mount) => Err(Trouble::plain(format!("{} still propagates", mount.point))),
        None => Ok(format!("{} mounts, none propagates", mounts.len())),
    }
}

pub(super) fn tmpfs() -> Done {
    enter_mount()?;
    let place = scratch()?;
    let file = place.join("file");
    fs::write(&file, "x").doing("write a file in memory")?;
    let read = fs::read(&file).doing("read a file in memory")?;
    if read != b"x" {
        return Err(Trouble::plain("a file in memory is not as it was written"));
    }
    Ok(format!("mounted at {}", place.display()))
}

/// The host's files as the template shows them; and that a write is refused there which works next
/// door.
pub(super) fn read_only_bind() -> Done {
    enter_mount()?;
    let place = scratch()?;
    let (source, shown) =
        (make_directory(place.join("source"))?, make_directory(place.join("shown"))?);
    show(&source, &shown)?;
    fs::write(source.join("file"), "x").doing("write where writing is allowed")?;
    match fs::write(shown.join("file"), "y") {
        Err(error) if error.raw_os_error() == Some(libc::EROFS) => {}
        result => return Err(Trouble::plain(format!("a read-only tree was written: {result:?}"))),
    }
    let host = make_directory(place.join("host"))?;
    show(Path::new("/usr"), &host)?;
    Ok("a write is refused in the copy and allowed beside it; /usr is shown".to_owned())
}

fn show(source: &Path, target: &Path) -> Result<(), Trouble> {
    let tree = copy_tree(&c_name(source)?).doing(&format!("open_tree {}", source.display()))?;
    set_attributes(tree.as_fd(), attr::RDONLY | attr::NOSUID | attr::NODEV)
        .doing(&format!("mount_setattr {}", source.display()))?;
    attach(tree.as_fd(), &c_name(target)?).doing(&format!("move_mount {}", source.display()))
}

pub(super) fn overlay_home() -> Done {
    let home = users::with_uid(getuid().as_raw()).map(|user| user.home);
    match home.filter(|home| home.is_dir()) {
        Some(home) => overlay(&home),
        None => Ok("no home directory, so none to cover".to_owned()),
    }
}

pub(super) fn overlay_cwd() -> Done {
    let cwd = std::env::current_dir().doing("find the working directory")?;
    overlay(&cwd)
}

fn overlay(directory: &Path) -> Done {
    let real = fs::canonicalize(directory).doing(&format!("find {}", directory.display()))?;
    if real == Path::new("/") {
        return Ok("/ stays read-only in environments".to_owned());
    }
    enter_mount()?;
    layers::try_cover(&c_name(&real)?)
        .doing(&format!("put a private layer over {}", real.display()))?;
    Ok(format!("{} covered", real.display()))
}

/// A directory that was below is deleted and made again: it must be marked as hiding what was below,
/// for which tmpfs needs user xattrs (overlayfs in the kernel's documentation, "userxattr").
pub(super) fn overlay_recreate() -> Done {
    enter_mount()?;
    let place = scratch()?;
    let [lower, upper, work, over] = ["lower", "upper", "work", "over"];
    for name in [lower, upper, work, over] {
        make_directory(place.join(name))?;
    }
    make_directory(place.join(lower).join("again"))?;
    fs::write(place.join(lower).join("again/old"), "x").doing("write the lower layer")?;
    let path = |name: &str| place.join(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        path(lower),
        path(upper),
        path(work)
    );
    let over = place.join(over);
    mount(Some("zyg"), &over, Some("overlay"), PLAIN, Some(options.as_str()))
        .doing("mount an overlay")?;
    let again = over.join("again");
    fs::remove_dir_all(&again).doing("delete a directory of the lower layer")?;
    fs::create_dir(&again).doing("make a deleted directory again")?;
    if again.join("old").exists() {
        return Err(Trouble::plain("a deleted file shows again in a directory made anew"));
    }
    Ok("deleted, made again, and empty".to_owned())
}

pub(super) fn proc() -> Done {
    enter_mount()?;
    in_clone(|| {
        mount(Some("proc"), "/proc", Some("proc"), PLAIN | MsFlags::MS_NOEXEC, None::<&str>)
            .doing("mount a fresh proc")?;
        let own = fs::read_link("/proc/self").doing("read /proc/self")?;
        if own != Path::new("1") {
            return Err(Trouble::plain(format!("pid 1 is shown as {}", own.display())));
        }
        Ok("fresh, and pid 1 is our own".to_owned())
    })
}

pub(super) fn devpts() -> Done {
    enter_mount()?;
    in_clone(|| {
        let terminals = make_directory(scratch()?.join("pts"))?;
        let options = Some("newinstance,ptmxmode=0666,mode=0620");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        mount(Some("devpts"), &terminals, Some("devpts"), flags, options)
            .doing("mount a devpts")?;
        let mut open = fs::OpenOptions::new();
        let _terminal = open
            .read(true)
            .write(true)
            .open(terminals.join("ptmx"))
            .doing("open a terminal of its own")?;
        if !terminals.join("0").exists() {
            return Err(Trouble::plain("the first terminal of a fresh devpts is not number 0"));
        }
        Ok("fresh, and a terminal opened".to_owned())
    })
}

pub(super) fn sysfs() -> Done {
    enter_mount()?;
    unshare(CloneFlags::CLONE_NEWNET).at(Step::NetNamespace)?;
    let target = make_directory(scratch()?.join("sys"))?;
    let flags = PLAIN | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    mount(Some("sysfs"), &target, Some("sysfs"), flags, None::<&str>).doing("mount a sysfs")?;
    let devices = fs::read_dir(target.join("class/net")).doing("list network devices")?;
    let names: Vec<_> = devices.flatten().map(|device| device.file_name()).collect();
    if !names.iter().any(|name| name == "lo") {
        return Err(Trouble::plain(format!("lo is not among its network devices: {names:?}")));
    }
    Ok(format!("mounted; network devices: {}", names.join(OsStr::new(" ")).display()))
}
