//! Steps, and how they fail.

use super::{Bytes, plain_text};
use serde::{Deserialize, Serialize};

/// A step that failed, as the kernel reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was being done.
    pub step: Step,
    /// The error number (errno(3)).
    pub errno: i32,
    /// The path or name that it was done to; empty where there is none.
    pub subject: Bytes,
}

/// Every step of building a zygote, preparing a lease and starting a command has a name, so that
/// an error says where. Displayed, it completes "failed to …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's display text is its documentation")]
pub enum Step {
    #[error("become the user whose authority is asked for")]
    BecomeUser,
    #[error("create a user namespace")]
    UserNamespace,
    #[error("write the user namespace's id maps")]
    IdMaps,
    #[error("create a mount namespace")]
    MountNamespace,
    #[error("make the mount tree private")]
    PrivateTree,
    #[error("mount the new root")]
    Root,
    #[error("show a directory of the host read-only")]
    HostDirectory,
    #[error("set up /dev")]
    Dev,
    #[error("set up /sys")]
    Sys,
    #[error("set up /proc")]
    Proc,
    #[error("enter the new root")]
    EnterRoot,
    #[error("create a network namespace")]
    NetNamespace,
    #[error("bring up the loopback device")]
    Loopback,
    #[error("clone a zygote")]
    Clone,
    #[error("make sockets for a zygote")]
    Sockets,
    #[error("mount the private writable places")]
    Scratch,
    #[error("put a private layer over the home directory")]
    Home,
    #[error("mount devpts")]
    Devpts,
    #[error("drop privileges")]
    DropPrivileges,
    #[error("wait for events")]
    Events,
    #[error("set the host name")]
    Hostname,
    #[error("open a mount source")]
    OpenTree,
    #[error("find the mount point")]
    MountPoint,
    #[error("attach a mount")]
    AttachMount,
    #[error("put a private layer over")]
    Layer,
    #[error("read the request")]
    ReadRequest,
    #[error("open a terminal")]
    Tty,
    #[error("pass descriptors")]
    Descriptors,
    #[error("set resource limits")]
    Rlimits,
    #[error("change to directory")]
    Chdir,
    #[error("fork")]
    Fork,
    #[error("execute")]
    Execute,
    #[error("find the interpreter of")]
    Interpreter,
    #[error("install the system call filter")]
    Filter,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "failed to {}", self.step)?;
        if !self.subject.is_empty() {
            // Whoever reports it may have written into it whatever he likes.
            write!(f, " {}", plain_text(&self.subject))?;
        }
        write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for Failure {}
