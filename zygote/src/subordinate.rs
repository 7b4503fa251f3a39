//! Subordinate ids that the system has granted to a user (subuid(5), subgid(5)).

use crate::users;
use std::fs;
use std::io;

/// Where uids are granted, and gids.
pub(crate) const UIDS: &str = "/etc/subuid";
pub(crate) const GIDS: &str = "/etc/subgid";

/// Ids that the smallest reservation takes.
pub(crate) const LEAST: u32 = 64;

/// Ids in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub first: u32,
    pub count: u32,
}

/// The largest range that a file grants to a user, by name or number; `None` where there is none of
/// [`LEAST`].
///
/// # Errors
/// Those of reading the file.
pub(crate) fn granted(file: &str, uid: u32) -> io::Result<Option<Range>> {
    let name = users::with_uid(uid).map(|user| user.name);
    Ok(largest(&fs::read_to_string(file)?, name.as_deref(), uid))
}

fn largest(text: &str, name: Option<&str>, uid: u32) -> Option<Range> {
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range =
            Range { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
        (Some(owner) == name || owner.parse() == Ok(uid)).then_some(range)
    });
    ranges.max_by_key(|range| range.count).filter(|range| range.count >= LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_range_is_found_by_name_or_number() {
        let text =
            "other:1:99999\nme:1:64\nme:100000:65536\n1000:300000:70000\nbroken:x\nfew:9:63\n";
        let of = |name, uid| largest(text, name, uid).map(|range| (range.first, range.count));
        assert_eq!(of(Some("me"), 7), Some((100_000, 65_536)));
        assert_eq!(of(Some("me"), 1000), Some((300_000, 70_000)));
        assert_eq!(of(None, 1000), Some((300_000, 70_000)));
        assert_eq!(of(Some("nobody"), 7), None);
        assert_eq!(of(Some("broken"), 7), None);
        assert_eq!(of(Some("few"), 7), None);
    }
}
