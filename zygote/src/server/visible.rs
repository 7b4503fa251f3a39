//! What a lease must be shown beyond the template's tree: the client's working directory, its
//! program's directory, its own mounts. Pure: paths in, orders out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use zyg_protocol::limits::{MESSAGE_BYTES_MAX, PATH_BYTES_MAX};
use zyg_protocol::message::{Acquire, Attach, Bytes, Mount, Tree, plain_text};

/// What every zygote of a pool has writable.
#[derive(Debug, Clone, Default)]
pub(super) struct Writable {
    /// Empty private places.
    pub private: Vec<Bytes>,
    /// Places that show the host's content under a private layer.
    pub layered: Vec<Bytes>,
    /// Whether the client's working directory is to be writable.
    pub cwd: bool,
    /// Whether the host's tree is shown at all.
    pub host: bool,
    /// A private home directory instead of the client's.
    pub home: Option<Bytes>,
    /// Where the profile's own mounts are, and whether they can only be read.
    pub binds: Vec<(Bytes, bool)>,
    /// What is to look empty.
    pub hidden: Vec<Bytes>,
}

impl Writable {
    /// The profile's own mount that `path` is in, where nothing deeper is in its place.
    fn bind_of(&self, path: &Path) -> Option<(&Path, bool)> {
        let targets = self.binds.iter().map(|(target, read_only)| (self::path(target), *read_only));
        let deepest = targets
            .filter(|(target, _)| path.starts_with(target))
            .max_by_key(|(target, _)| depth(target));
        let below = |places| longest(path, places).map_or(0, depth);
        // A bind over a private or a layered place is above it.
        deepest
            .filter(|(target, _)| depth(target) >= below(&self.private).max(below(&self.layered)))
    }
}

/// What init attaches, and the trees that the template opens for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    pub attach: Vec<Attach>,
    pub trees: Vec<Tree>,
    /// The working directory, where a layered place is expected to make it writable.
    pub relies_on: Option<Bytes>,
}

/// Made anew in every environment: nothing of the host's is shown there.
const OWN: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Bytes that the targets of all that is attached may have together: the grant repeats them, and so
/// does the client to init. The rest of a message is for what stands beside them, another path among
/// it.
const TARGET_BYTES_MAX: usize = MESSAGE_BYTES_MAX - PATH_BYTES_MAX - 1024;

/// What this request needs to see.
///
/// # Errors
/// The rule that a path breaks.
pub(super) fn view(acquire: &Acquire, writable: &Writable) -> Result<View, String> {
    let targets = mount_targets(&acquire.mounts)?;
    let mut view = View::default();
    let cwd = acquire.cwd.as_ref().map(|cwd| checked(cwd, "working directory")).transpose()?;
    if let Some(cwd) = cwd.filter(|cwd| writable.host && !is_below_any(cwd, &targets)) {
        view.show_cwd(cwd, writable);
    }
    let program = acquire.program.as_ref().map(|path| checked(path, "program")).transpose()?;
    if let Some(program) =
        program.filter(|program| writable.host && !is_below_any(program, &targets))
    {
        let in_cwd = cwd.is_some_and(|cwd| view.shows(cwd) && program.starts_with(cwd));
        if !in_cwd {
            view.show_program(program, writable);
        }
    }
    for mount in &acquire.mounts {
        view.add(mount)?;
    }
    if view.target_bytes() > TARGET_BYTES_MAX {
        return Err(format!("the mount targets are longer than {TARGET_BYTES_MAX} bytes together"));
    }
    Ok(view)
}

/// Where commands start that would start in the client's working directory, if that is not to be
/// seen: at home.
pub(super) fn instead_of_cwd(writable: &Writable) -> Option<Bytes> {
    let home = || writable.home.clone().unwrap_or_else(|| Bytes::from(&b"/"[..]));
    (!writable.host).then(home)
}

impl View {
    fn target_bytes(&self) -> usize {
        let attached = self.attach.iter().map(|attach| match attach {
            Attach::Tree { target }
            | Attach::Layer { target }
            | Attach::Cover { target }
            | Attach::Tmpfs { target } => target.len(),
        });
        attached.sum::<usize>() + self.relies_on.as_ref().map_or(0, |path| path.len())
    }

    /// What is attached when it comes to the grant: a place that turned out to allow no layer, as
    /// the template may have found out meanwhile, leaves the working directory to one of its own.
    pub fn settled(self, writable: &Writable) -> Vec<Attach> {
        let alone = self.relies_on.filter(|cwd| longest(path(cwd), &writable.layered).is_none());
        alone.map(|target| Attach::Cover { target }).into_iter().chain(self.attach).collect()
    }

    fn show_cwd(&mut self, cwd: &Path, writable: &Writable) {
        let target = bytes(cwd);
        if longest(cwd, &writable.hidden).is_some() {
            return;
        }
        if let Some((_, read_only)) = writable.bind_of(cwd) {
            // It is there already. What is written where that can be goes where the profile says.
            if read_only && writable.cwd {
                self.attach.push(Attach::Cover { target });
            }
        } else if let Some(place) = longest(cwd, &writable.private) {
            // The private place itself is what the client gets to see there.
            if place != cwd {
                // Never writable itself: what is written goes to the layer, or nowhere.
                self.trees.push(Tree { path: target.clone(), read_only: true });
                let attach =
                    if writable.cwd { Attach::Layer { target } } else { Attach::Tree { target } };
                self.attach.push(attach);
            }
        } else if writable.cwd
            && cwd != Path::new("/")
            && !OWN.iter().any(|own| cwd.starts_with(own))
        {
            match longest(cwd, &writable.layered) {
                Some(_) => self.relies_on = Some(target),
                None => self.attach.push(Attach::Cover { target }),
            }
        }
    }

    /// A program below a private place would not be found there; elsewhere it is.
    fn show_program(&mut self, program: &Path, writable: &Writable) {
        let places = longest(program, &writable.private);
        // The place itself is there, and no program.
        let Some(place) = places.filter(|place| *place != program) else { return };
        if writable.bind_of(program).is_some() || longest(program, &writable.hidden).is_some() {
            return;
        }
        let Some(directory) = program.parent() else { return };
        // Straight in the private place: the program alone, for the place itself stays empty.
        let shown = if directory == place { program } else { directory };
        // First, since the working directory may lie below it, and must not be covered.
        self.trees.insert(0, Tree { path: bytes(shown), read_only: true });
        self.attach.insert(0, Attach::Tree { target: bytes(shown) });
    }

    fn shows(&self, target: &Path) -> bool {
        self.attach.iter().any(|attach| match attach {
            Attach::Tree { target: shown } | Attach::Layer { target: shown } => {
                path(shown) == target
            }
            Attach::Cover { .. } | Attach::Tmpfs { .. } => false,
        })
    }

    fn add(&mut self, mount: &Mount) -> Result<(), String> {
        match mount {
            Mount::Bind { source, target, read_only } => {
                checked(source, "bind source")?;
                self.trees.push(Tree { path: source.clone(), read_only: *read_only });
                self.attach.push(Attach::Tree { target: target.clone() });
            }
            Mount::Tmpfs { target } => self.attach.push(Attach::Tmpfs { target: target.clone() }),
        }
        Ok(())
    }
}

fn mount_targets(mounts: &[Mount]) -> Result<Vec<&Path>, String> {
    mounts
        .iter()
        .map(|mount| {
            let (Mount::Bind { target, .. } | Mount::Tmpfs { target }) = mount;
            let target = checked(target, "mount target")?;
            if target == Path::new("/") {
                return Err("a mount target of / would hide the whole environment".to_owned());
            }
            if target == Path::new("/proc") {
                return Err("/proc is each environment's own, and no mount target".to_owned());
            }
            Ok(target)
        })
        .collect()
}

/// A path that can be compared by its components: absolute, bounded, without `..`.
fn checked<'a>(bytes: &'a Bytes, what: &str) -> Result<&'a Path, String> {
    let path = path(bytes);
    if bytes.len() > PATH_BYTES_MAX {
        // Not repeated: the answer must fit into a message.
        return Err(format!("the {what} is longer than {PATH_BYTES_MAX} bytes"));
    }
    let rule = if bytes.contains(&0) {
        "contains a zero byte".to_owned()
    } else if !path.is_absolute() {
        "is not absolute".to_owned()
    } else if path.components().any(|component| component == Component::ParentDir) {
        "contains `..`".to_owned()
    } else {
        return Ok(path);
    };
    Err(format!("the {what} {} {rule}", plain_text(bytes)))
}

fn is_below_any(path: &Path, places: &[&Path]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// The deepest of `places` that `path` is or lies below.
fn longest<'a>(below: &Path, places: &'a [Bytes]) -> Option<&'a Path> {
    places
        .iter()
        .map(path)
        .filter(|place| below.starts_with(place))
        .max_by_key(|place| depth(place))
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

fn path(bytes: &Bytes) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn bytes(path: &Path) -> Bytes {
    Bytes::from(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b(path: &str) -> Bytes {
        Bytes::from(path.as_bytes())
    }

    fn writable() -> Writable {
        Writable {
            private: vec![b("/tmp"), b("/run")],
            layered: vec![b("/home/u")],
            cwd: true,
            host: true,
            ..Writable::default()
        }
    }

    fn seen(cwd: &str, program: Option<&str>, mounts: Vec<Mount>) -> Result<View, String> {
        let acquire =
            Acquire { cwd: Some(b(cwd)), program: program.map(b), mounts, ..Acquire::default() };
        view(&acquire, &writable())
    }

    fn tree(path: &str, read_only: bool) -> Tree {
        Tree { path: b(path), read_only }
    }

    #[test]
    fn what_every_zygote_shows_needs_nothing() {
        for cwd in ["/tmp", "/", "/proc/self", "/sys", "/dev/shm"] {
            assert_eq!(seen(cwd, Some("/usr/bin/true"), vec![]), Ok(View::default()), "{cwd}");
        }
    }

    #[test]
    fn a_directory_below_a_layered_place_needs_a_layer_only_if_that_place_has_none() {
        for cwd in ["/home/u", "/home/u/src/x"] {
            let expected = View { relies_on: Some(b(cwd)), ..View::default() };
            let view = seen(cwd, Some("/usr/bin/true"), vec![]).unwrap();
            assert_eq!(view, expected);
            assert_eq!(view.settled(&writable()), []);
            let refused = Writable { layered: vec![], ..writable() };
            let tmpfs = Mount::Tmpfs { target: b("/t") };
            assert_eq!(
                seen(cwd, None, vec![tmpfs]).unwrap().settled(&refused),
                [Attach::Cover { target: b(cwd) }, Attach::Tmpfs { target: b("/t") }]
            );
        }
    }

    #[test]
    fn what_a_grant_could_not_repeat_is_refused() {
        let target = |length| Bytes::from([b"/", &vec![b'm'; length - 1][..]].concat());
        let mounts = |length| vec![Mount::Tmpfs { target: target(length) }; 60];
        let refused = seen("/srv/x", None, mounts(1007)).unwrap_err();
        assert!(refused.contains("longer than 60416 bytes together"), "{refused}");
        let attach = seen("/srv/x", None, mounts(1000)).unwrap().settled(&writable());
        let granted = zyg_protocol::message::Granted {
            request: u64::MAX,
            lease: zyg_protocol::message::LeaseId(u64::MAX),
            start: zyg_protocol::message::Start::Warm,
            waited_us: u64::MAX,
            time_ms: Some(u64::MAX),
            start_in: Some(target(PATH_BYTES_MAX)),
            attach,
        };
        let reply = zyg_protocol::message::Reply::Granted(granted);
        assert_eq!(zyg_protocol::codec::encode(&reply, &mut Vec::new()), Ok(()));
    }

    #[test]
    fn a_directory_of_the_host_gets_a_private_layer() {
        let attach = vec![Attach::Cover { target: b("/srv/x") }];
        let expected = View { attach, ..View::default() };
        assert_eq!(seen("/srv/x", None, vec![]), Ok(expected));
    }

    #[test]
    fn a_directory_below_a_private_place_is_brought_in_under_a_layer() {
        let expected = View {
            attach: vec![Attach::Layer { target: b("/tmp/x") }],
            trees: vec![tree("/tmp/x", true)],
            ..View::default()
        };
        assert_eq!(seen("/tmp/x", Some("/tmp/x/bin/a"), vec![]), Ok(expected));
    }

    #[test]
    fn a_program_below_a_private_place_brings_its_directory() {
        let expected = View {
            attach: vec![Attach::Tree { target: b("/tmp/go-build/b1") }],
            trees: vec![tree("/tmp/go-build/b1", true)],
            relies_on: Some(b("/home/u")),
        };
        assert_eq!(seen("/home/u", Some("/tmp/go-build/b1/x.test"), vec![]), Ok(expected));
    }

    #[test]
    fn a_program_above_the_working_directory_does_not_cover_it() {
        let expected = View {
            attach: vec![
                Attach::Tree { target: b("/tmp/x") },
                Attach::Layer { target: b("/tmp/x/tests") },
            ],
            trees: vec![tree("/tmp/x", true), tree("/tmp/x/tests", true)],
            ..View::default()
        };
        assert_eq!(seen("/tmp/x/tests", Some("/tmp/x/run"), vec![]), Ok(expected));
    }

    #[test]
    fn a_private_place_is_no_program_to_be_shown() {
        assert_eq!(seen("/", Some("/tmp"), vec![]), Ok(View::default()));
    }

    #[test]
    fn what_is_hidden_or_bound_is_not_brought_in() {
        let writable = Writable {
            binds: vec![(b("/tmp/kept"), false), (b("/tmp/seen"), true)],
            hidden: vec![b("/tmp/hidden")],
            ..writable()
        };
        let seen = |cwd: &str, program: &str| {
            let (cwd, program) = (Some(b(cwd)), Some(b(program)));
            view(&Acquire { cwd, program, ..Acquire::default() }, &writable).unwrap().attach
        };
        assert_eq!(seen("/tmp/hidden", "/tmp/hidden/below/x"), []);
        assert_eq!(seen("/tmp/kept/below", "/tmp/kept/x"), []);
        assert_eq!(seen("/tmp/seen", "/tmp/seen/x"), [Attach::Cover { target: b("/tmp/seen") }]);
        assert_eq!(seen("/tmp/else", "/bin/x"), [Attach::Layer { target: b("/tmp/else") }]);
    }

    #[test]
    fn a_program_straight_in_a_private_place_comes_alone() {
        let expected = View {
            attach: vec![Attach::Tree { target: b("/tmp/a.out") }],
            trees: vec![tree("/tmp/a.out", true)],
            ..View::default()
        };
        assert_eq!(seen("/tmp", Some("/tmp/a.out"), vec![]), Ok(expected));
    }

    #[test]
    fn a_bind_over_the_working_directory_takes_its_place() {
        let bind = Mount::Bind { source: b("/srv/x"), target: b("/srv/x"), read_only: false };
        let expected = View {
            attach: vec![Attach::Tree { target: b("/srv/x") }],
            trees: vec![tree("/srv/x", false)],
            ..View::default()
        };
        assert_eq!(seen("/srv/x/sub", None, vec![bind]), Ok(expected));
    }

    #[test]
    fn a_path_that_breaks_a_rule_is_named() {
        let tmpfs = |target: &str| vec![Mount::Tmpfs { target: b(target) }];
        for (cwd, mounts, expected) in [
            ("x", vec![], "the working directory x is not absolute"),
            ("/a/../b", vec![], "the working directory /a/../b contains `..`"),
            ("/a", tmpfs("t"), "the mount target t is not absolute"),
            ("/a", tmpfs("/"), "a mount target of / would hide the whole environment"),
            ("/a", tmpfs("/proc/"), "/proc is each environment's own, and no mount target"),
            ("/a\0b", vec![], "the working directory /a\\u{0}b contains a zero byte"),
        ] {
            assert_eq!(seen(cwd, None, mounts), Err(expected.to_owned()));
        }
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        assert!(seen(&long, None, vec![]).is_err_and(|error| error.contains("longer than 4096")));
    }
}
