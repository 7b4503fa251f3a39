//! Mount sources held for acquires that are not answered yet: each is a descriptor, and the server
//! has only so many for all of its users.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use zyg_protocol::message::Denial;

/// Of all descriptors that the server may have, one in this many may be held for those who wait.
const SHARE_OF_ALL: u64 = 4;

/// And of those, one in this many for one user.
const SHARE_OF_USER: usize = 4;

/// What is named to whoever asks for more.
const WHAT: &str = "mount sources of acquires that wait (a share of the server's descriptors: raise \
                    its ulimit -n or LimitNOFILE=)";

/// What may be held, and what is.
#[derive(Debug)]
pub(super) struct Held {
    all_max: usize,
    user_max: usize,
    all: Rc<Cell<usize>>,
    users: HashMap<u32, Rc<Cell<usize>>>,
}

/// Leave to hold some. Whoever drops it holds them no more.
#[derive(Debug, Default)]
pub(super) struct Leave {
    sources: usize,
    counts: Vec<Rc<Cell<usize>>>,
}

impl Held {
    /// Nothing yet, of as many descriptors as the server may have. Where it serves one user `alone`,
    /// there is nobody to share them with.
    pub fn new(descriptors: u64, alone: bool) -> Self {
        let all_max = (descriptors / SHARE_OF_ALL).try_into().unwrap_or(usize::MAX);
        let user_max = if alone { all_max } else { all_max / SHARE_OF_USER };
        Self { all_max, user_max, all: Rc::default(), users: HashMap::new() }
    }

    /// Leave for a user to hold that many more.
    ///
    /// # Errors
    /// A denial, where it would be more than one user may have, or all together.
    pub fn take(&mut self, uid: u32, sources: usize) -> Result<Leave, Denial> {
        if sources == 0 {
            return Ok(Leave::default());
        }
        self.users.retain(|_, count| count.get() > 0);
        let user = self.users.entry(uid).or_default();
        if user.get() + sources > self.user_max || self.all.get() + sources > self.all_max {
            let limit = self.user_max.try_into().unwrap_or(u32::MAX);
            let what = WHAT.to_owned();
            return Err(Denial::QuotaExceeded { what, limit });
        }
        let counts = vec![Rc::clone(&self.all), Rc::clone(user)];
        for count in &counts {
            count.set(count.get() + sources);
        }
        Ok(Leave { sources, counts })
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        for count in &self.counts {
            count.set(count.get() - self.sources);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_takes_all_and_what_is_dropped_is_free_again() {
        let mut held = Held::new(320, false);
        let mut leaves: Vec<_> = (0..4).map(|_| held.take(1, 5).unwrap()).collect();
        assert!(matches!(held.take(1, 1), Err(Denial::QuotaExceeded { limit: 20, .. })));
        for uid in 2..5 {
            leaves.push(held.take(uid, 20).unwrap());
        }
        assert!(held.take(5, 1).is_err(), "all together have all that there is");
        leaves.remove(0);
        assert!(held.take(1, 6).is_err());
        assert!(held.take(1, 5).is_ok());
        drop(leaves);
        assert!(held.take(6, 20).is_ok());
        assert!(held.take(6, 0).is_ok());
    }

    #[test]
    fn a_user_who_is_served_alone_may_have_all() {
        let mut held = Held::new(320, true);
        let all = held.take(1, 80).unwrap();
        assert!(matches!(held.take(1, 1), Err(Denial::QuotaExceeded { limit: 80, .. })));
        drop(all);
    }
}
