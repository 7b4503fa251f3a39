//! Subordinate ids for environments that are to share none with anybody.
//!
//! They are reserved in blocks, each by a locked file, so that several servers on one machine never
//! hand out the same one. A block is free again when its server has ended.

use crate::subordinate::{self, GIDS, LEAST, UIDS, granted};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use zyg_protocol::message::Slices;

/// Ids in a block. Small, since a login user has 65,536 (useradd(8)) and may run several servers.
const BLOCK: u32 = subordinate::LEAST;

/// What root takes from: the range that systemd leaves unused by any convention (systemd's "Users,
/// Groups, UIDs and GIDs"), one of 65,536 blocks.
const ROOT: Slices =
    Slices { first_uid: 1_879_048_192, first_gid: 1_879_048_192, count: 65_536 * BLOCK };

/// Ids that are this server's as long as it lives.
#[derive(Debug)]
pub(super) struct Reserved {
    pub slices: Slices,
    _locks: Vec<Flock<File>>,
}

/// Reserves `count` ids of each kind, in a row.
///
/// # Errors
/// Why not, with what to change.
pub(super) fn reserve(count: u32) -> Result<Reserved, String> {
    let uid = Uid::effective();
    let range = if uid.is_root() { ROOT } else { granted_to(uid)? };
    let directory = directory(uid).map_err(|error| {
        format!("failed to make the directory for reservations of subordinate ids: {error}")
    })?;
    let needed = count.div_ceil(BLOCK);
    let blocks = range.count / BLOCK;
    let mut start = 0;
    while start + needed <= blocks {
        match lock_row(&directory, range.first_uid / BLOCK, start, needed) {
            Ok(locks) => {
                let slices = Slices {
                    first_uid: range.first_uid + start * BLOCK,
                    first_gid: range.first_gid + start * BLOCK,
                    count: needed * BLOCK,
                };
                return Ok(Reserved { slices, _locks: locks });
            }
            Err(taken) => start = taken + 1,
        }
    }
    Err(format!(
        "{count} subordinate ids in a row are not free: lower pool.max, or grant more with \
         `usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST`"
    ))
}

/// Locks blocks in a row; the number of the first that is taken otherwise.
fn lock_row(directory: &Path, base: u32, start: u32, needed: u32) -> Result<Vec<Flock<File>>, u32> {
    (start..start + needed)
        .map(|block| {
            let path = directory.join(format!("slices-{base}-{block}"));
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
            file.ok()
                .and_then(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
                .ok_or(block)
        })
        .collect()
}

/// What the system has granted to this user.
fn granted_to(uid: Uid) -> Result<Slices, String> {
    let range = |file: &str| {
        granted(file, uid.as_raw()).ok().flatten().ok_or_else(|| {
            let user = crate::users::with_uid(uid.as_raw()).map(|user| user.name);
            let user = user.unwrap_or_else(|| uid.to_string());
            format!(
                "{file} grants {user} no {LEAST} subordinate ids in a row, and this profile gives each \
                 environment one of its own: as root, run `usermod --add-subuids 100000-165535 \
                 --add-subgids 100000-165535 {user}` with ranges that nobody has yet, or ask a server that runs \
                 as root"
            )
        })
    };
    let (uids, gids) = (range(UIDS)?, range(GIDS)?);
    Ok(Slices { first_uid: uids.first, first_gid: gids.first, count: uids.count.min(gids.count) })
}

/// Where reservations are: a directory that is this user's alone.
fn directory(uid: Uid) -> io::Result<PathBuf> {
    let base = if uid.is_root() { PathBuf::from("/run") } else { PathBuf::from("/tmp") };
    let directory = base.join(format!("zyg-slices-{uid}"));
    match DirBuilder::new().mode(0o700).create(&directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let metadata = fs::symlink_metadata(&directory)?;
    if !metadata.is_dir() || metadata.uid() != uid.as_raw() || metadata.mode() & 0o077 != 0 {
        let shown = directory.display();
        return Err(io::Error::other(format!("{shown} is not a directory of this user alone")));
    }
    Ok(directory)
}
