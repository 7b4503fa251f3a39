//! The rules for single paths. Each takes what is written, and returns what is meant or what is
//! wrong with it.

use super::nearest::none_of;
use super::profile::{Home, HostPath, Location, Place, Root};
use std::path::{Component, Path, PathBuf};
use zyg_protocol::limits::PATH_BYTES_MAX;

/// Bytes of a socket's path: `sun_path` less its final zero (unix(7)).
const SOCKET_BYTES_MAX: usize = 107;

/// What every environment gets anew.
const MADE_ANEW: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What may be said about nonetheless: a directory like any other.
const SHARED_MEMORY: &str = "/dev/shm";

/// A place that can be made writable.
pub(super) fn writable(text: &str) -> Result<Place, String> {
    match text {
        "~" => Ok(Place::Home),
        "." => Ok(Place::WorkingDirectory),
        _ if !text.starts_with('/') => {
            Err(format!("a writable path is absolute, \"~\" or \".\", unlike {text:?}"))
        }
        _ => {
            let path = clean(text)?;
            if path.parent().is_none() {
                return Err(
                    "\"/\" as a whole cannot be writable: name the directories, or say root_overlay = true".into()
                );
            }
            not_made_anew(&path, "writable")?;
            Ok(Place::Path(path))
        }
    }
}

/// A path of the host, or several with a `*` at the end.
pub(super) fn read_only(text: &str) -> Result<HostPath, String> {
    if text.starts_with('~') {
        return Err(format!(
            "a read-only path is absolute, unlike {text:?}: use `bind` with read_only = true"
        ));
    }
    if !text.starts_with('/') {
        return Err(format!("a read-only path is absolute, unlike {text:?}"));
    }
    let fixed = text.strip_suffix('*').unwrap_or(text);
    if fixed.contains('*') {
        return Err(format!("only the end of a read-only path may be *, unlike {text:?}"));
    }
    let shown = if fixed.len() < text.len() {
        let (directory, prefix) = fixed.rsplit_once('/').unwrap_or(("", fixed));
        let directory = clean(&format!("/{directory}"))?;
        if prefix == ".." || prefix == "." {
            return Err(format!("a path has no \"..\", unlike {text:?}"));
        }
        HostPath::Matching { directory, prefix: prefix.to_owned() }
    } else {
        HostPath::Exact(clean(fixed)?)
    };
    let (named, whole) = match &shown {
        HostPath::Exact(path) => (path, path.parent().is_none()),
        HostPath::Matching { directory, prefix } => {
            (directory, directory.parent().is_none() && prefix.is_empty())
        }
    };
    if whole {
        return Err(format!("{text:?} is the whole tree: that is root = \"host\""));
    }
    not_made_anew(named, "read-only")?;
    Ok(shown)
}

/// A path that can be made to look empty.
pub(super) fn hidden(text: &str) -> Result<Location, String> {
    if text == "." {
        return Err("\".\" cannot be hidden: commands start in their working directory".into());
    }
    let location = location(text, "hidden")?;
    if let Location::Path(path) = &location {
        if path.parent().is_none() {
            return Err(
                "\"/\" cannot be hidden: nothing would be left; use root = \"empty\"".into()
            );
        }
        if path == Path::new("/proc") || path == Path::new("/dev") {
            return Err(format!("{text:?} cannot be hidden: every environment has its own"));
        }
    }
    Ok(location)
}

/// Where a bind comes from or is seen: one of the two is `what`.
pub(super) fn bound(text: &str, what: &str) -> Result<Location, String> {
    let location = location(text, what)?;
    if let Location::Path(path) = &location {
        if path.parent().is_none() {
            return Err(format!("\"/\" cannot be a {what}: name a directory or a file in it"));
        }
        not_made_anew(path, &format!("a {what}"))?;
    }
    Ok(location)
}

/// `SRC[:DST]`
pub(super) fn bind(text: &str) -> Result<(Location, Location), String> {
    let (source, target) = text.split_once(':').unwrap_or((text, text));
    if target.contains(':') {
        return Err(format!(
            "{text:?} has more than one \":\": write {{ source = …, target = …, read_only = … }}"
        ));
    }
    Ok((bound(source, "bind source")?, bound(target, "bind target")?))
}

/// The tree below everything.
pub(super) fn root(text: &str) -> Result<Root, String> {
    match text {
        "host" => Ok(Root::Host),
        "empty" => Ok(Root::Empty),
        _ if !text.starts_with('/') => {
            Err(none_of("root", text, &["host", "empty"], Some("an absolute path")))
        }
        _ => {
            let path = clean(text)?;
            if path.parent().is_none() {
                return Err("\"/\" is the host's own tree: that is root = \"host\"".into());
            }
            not_made_anew(&path, "a root")?;
            Ok(Root::Directory(path))
        }
    }
}

/// The home directory that commands find.
pub(super) fn home(text: &str) -> Result<Home, String> {
    match text {
        "client" => Ok(Home::Client),
        _ if !text.starts_with('/') => {
            Err(none_of("home", text, &["client"], Some("an absolute path")))
        }
        _ => {
            let path = clean(text)?;
            if path.parent().is_none() {
                return Err("\"/\" cannot be a private home".into());
            }
            not_made_anew(&path, "a private home")?;
            Ok(Home::Private(path))
        }
    }
}

/// A path that a socket can be bound to from wherever the server is started.
pub(super) fn socket(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err(format!("a socket's path is absolute, unlike {text:?}"));
    }
    let path = clean(text)?;
    let bytes = path.as_os_str().len();
    if path.parent().is_none() || text.ends_with('/') {
        Err(format!("{text:?} is a directory, not a place for a socket"))
    } else if bytes > SOCKET_BYTES_MAX {
        Err(format!("a socket's path has at most {SOCKET_BYTES_MAX} bytes, not {bytes}"))
    } else {
        Ok(path)
    }
}

/// An absolute path or one that starts with `~`; `what` says whose.
fn location(text: &str, what: &str) -> Result<Location, String> {
    if text.starts_with('/') {
        Ok(Location::Path(clean(text)?))
    } else if text == "~" {
        Ok(Location::InHome(PathBuf::new()))
    } else if let Some(below) = text.strip_prefix("~/") {
        let path = clean(&format!("/{below}"))?;
        Ok(Location::InHome(path.strip_prefix("/").unwrap_or(&path).to_owned()))
    } else {
        Err(format!("a {what} path is absolute or starts with \"~/\", unlike {text:?}"))
    }
}

fn not_made_anew(path: &Path, what: &str) -> Result<(), String> {
    let anew = MADE_ANEW.iter().find(|anew| path.starts_with(anew));
    match anew {
        Some(anew) if !path.starts_with(SHARED_MEMORY) => Err(format!(
            "\"{}\" cannot be {what}: every environment has {anew} of its own",
            path.display()
        )),
        _ => Ok(()),
    }
}

/// An absolute path without `..`, less its superfluous slashes and dots.
fn clean(text: &str) -> Result<PathBuf, String> {
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
