//! A request that is too large for one message, laid down in memory that can no longer change.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;

/// A memfd that holds `bytes`, sealed against every change, so that the receiver may map or read
/// it more than once without a race (memfd_create(2), F_ADD_SEALS in fcntl(2)).
pub(crate) fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"zyg-exec", flags)?);
    file.write_all(bytes)?;
    // The position travels with the descriptor.
    file.rewind()?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use std::io::Read;

    #[test]
    fn a_stored_request_reads_back_and_cannot_be_changed() {
        let mut file = File::from(sealed(b"request").unwrap());
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"request");
        file.rewind().unwrap();
        assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(Errno::EPERM as i32));
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(100).is_err());
    }
}
