//! The rules for single values. Each takes what is written, and returns what is meant or what is
//! wrong with it.

use super::Place;
use std::path::{Component, Path, PathBuf};
use zyg_protocol::limits::{HOSTNAME_BYTES_MAX, PATH_BYTES_MAX, PROFILE_NAME_BYTES_MAX};

/// Bytes of a socket's path: `sun_path` less its final zero (unix(7)).
const SOCKET_BYTES_MAX: usize = 107;

/// Bytes of one part of a host name (hostname(7)).
const HOSTNAME_PART_BYTES_MAX: usize = 63;

/// A name that can stand in a file name and on a command line without being quoted.
pub(super) fn profile_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Err("a profile's name must not be empty".into())
    } else if name.len() > PROFILE_NAME_BYTES_MAX {
        Err(format!(
            "a profile's name has at most {PROFILE_NAME_BYTES_MAX} bytes, not {}",
            name.len()
        ))
    } else if !name.chars().all(plain) {
        Err(format!("a profile's name consists of A-Z a-z 0-9 . _ -, unlike {name:?}"))
    } else if name.starts_with(['.', '-']) {
        Err(format!("a profile's name starts with a letter, a digit or _, unlike {name:?}"))
    } else {
        Ok(())
    }
}

/// A host name by the rules of hostname(7), which are those of RFC 1123.
pub(super) fn hostname(name: &str) -> Result<(), String> {
    let valid_part = |part: &str| {
        !part.is_empty()
            && part.len() <= HOSTNAME_PART_BYTES_MAX
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if name.len() > HOSTNAME_BYTES_MAX {
        Err(format!("a host name has at most {HOSTNAME_BYTES_MAX} bytes, not {}", name.len()))
    } else if !name.split('.').all(valid_part) {
        Err(format!(
            "{name:?} is no host name: parts of A-Z a-z 0-9 and inner -, separated by dots"
        ))
    } else {
        Ok(())
    }
}

/// A place that can be made writable.
pub(super) fn writable(text: &str) -> Result<Place, String> {
    match text {
        "~" => Ok(Place::Home),
        "." => Ok(Place::WorkingDirectory),
        _ if !text.starts_with('/') => {
            Err(format!("a writable path is absolute, \"~\" or \".\", unlike {text:?}"))
        }
        _ => {
            let path = clean_path(text)?;
            if path.parent().is_none() {
                return Err("\"/\" as a whole cannot be writable: name the directories".into());
            }
            Ok(Place::Path(path))
        }
    }
}

/// A path that a socket can be bound to from wherever the server is started.
pub(super) fn socket(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err(format!("a socket's path is absolute, unlike {text:?}"));
    }
    let path = clean_path(text)?;
    let bytes = path.as_os_str().len();
    if path.parent().is_none() || text.ends_with('/') {
        Err(format!("{text:?} is a directory, not a place for a socket"))
    } else if bytes > SOCKET_BYTES_MAX {
        Err(format!("a socket's path has at most {SOCKET_BYTES_MAX} bytes, not {bytes}"))
    } else {
        Ok(path)
    }
}

/// A name that may stand in passwd(5). Directory services allow almost anything else.
pub(super) fn user(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains([':', '/']) || name.contains(char::is_control) {
        return Err(format!("{name:?} is no user name"));
    }
    Ok(())
}

/// An absolute path without `..`, less its superfluous slashes and dots.
fn clean_path(text: &str) -> Result<PathBuf, String> {
    if text.len() > PATH_BYTES_MAX {
        return Err(format!("a path has at most {PATH_BYTES_MAX} bytes, not {}", text.len()));
    }
    if text.contains('\0') {
        return Err(format!("a path has no zero byte, unlike {text:?}"));
    }
    let path = Path::new(text);
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(format!("a path has no \"..\", unlike {text:?}"));
    }
    Ok(path.components().collect())
}
