//! Memory by the page: mmap(2).
#![expect(unsafe_code, reason = "memory that the kernel hands out")]

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

/// Zeroed memory that costs what is touched of it, page by page, and is given back as a whole.
///
/// A vector of zeroes costs all of it at once where the heap was used before, as it is in whoever was
/// forked: calloc(3) then has to write the zeroes.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<c_void>,
    bytes: NonZeroUsize,
}

impl Pages {
    /// So many bytes. Without the memory for it the process aborts, as with a vector.
    #[must_use]
    pub fn zeroed(bytes: NonZeroUsize) -> Self {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: memory that nothing else refers to, at an address of the kernel's choice.
        match unsafe { mmap_anonymous(None, bytes, access, MapFlags::MAP_PRIVATE) } {
            Ok(start) => Self { start, bytes },
            Err(_) => match Layout::array::<u8>(bytes.get()) {
                Ok(layout) => handle_alloc_error(layout),
                Err(_) => std::process::abort(),
            },
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this length, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.start, self.bytes.get()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many readable bytes for as long as we live, written through us alone.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes.get()) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else reads or writes while we are borrowed.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.bytes.get()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zeroes_and_hold_what_is_written() {
        let mut pages = Pages::zeroed(NonZeroUsize::new(10_000).unwrap());
        assert_eq!(pages.len(), 10_000);
        assert!(pages.iter().all(|byte| *byte == 0));
        pages[9_999] = 7;
        assert_eq!(pages[9_998..], [0, 7]);
    }
}
