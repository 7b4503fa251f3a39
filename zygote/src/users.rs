//! Who a user is, and which groups it is in (passwd(5), group(5)).
//!
//! `zyg` is linked statically, so that it starts fast, and the C library's own lookups would then
//! load modules built for another copy of that library (nsswitch.conf(5)). So the files are read
//! here, and whatever else the system is configured to ask (LDAP, systemd) is asked by getent(1),
//! which is part of the C library.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer of getent(1) holds, and how long nobody asks it again that has not answered: what
/// it costs to ask is bounded, however often and about whatever a client makes the server wonder.
const ANSWER_HOLDS: Duration = Duration::from_secs(5);

/// How long getent(1) may take: a directory service that is down must not be waited for by those who
/// have nothing to do with it.
const ANSWER_TAKES: Duration = Duration::from_secs(1);

/// Bytes of an answer: a user may be in tens of thousands of groups.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Answers kept at most.
const ANSWERS_MAX: usize = 1024;

/// The files know nothing, and who is asked beside them (nsswitch.conf(5)) cannot be, or has not answered
/// within a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("getent(1) does not answer; see the server's log")]
pub struct Unanswered;

/// One line of the user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The id of the group that the user is in before all others.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
}

/// The user with this id, or `None` where nobody knows of one, or does not say.
#[must_use]
pub fn with_uid(uid: u32) -> Option<User> {
    look_up(uid).ok().flatten()
}

/// The user with this id, or `None` where nobody knows of one.
///
/// # Errors
/// [`Unanswered`] where somebody might.
pub fn look_up(uid: u32) -> Result<Option<User>, Unanswered> {
    SYSTEM.user(&uid.to_string(), |user| user.uid == uid)
}

/// The user of this name.
#[must_use]
pub fn named(name: &str) -> Option<User> {
    let user = is_name(name).then(|| SYSTEM.user(name, |user| user.name == name));
    user?.ok().flatten()
}

/// The id of the group of this name.
#[must_use]
pub fn group_named(name: &str) -> Option<u32> {
    let gid = is_name(name).then(|| SYSTEM.group(name, |group| group.name == name.as_bytes()));
    gid?.ok().flatten()
}

/// Whether any group has this id.
///
/// # Errors
/// [`Unanswered`] where somebody might know of one.
pub fn is_group(gid: u32) -> Result<bool, Unanswered> {
    let known = SYSTEM.group(&gid.to_string(), |group| group.gid == gid);
    known.map(|known| known.is_some())
}

/// The ids of all groups that the user of this name is in, `gid` before all others.
#[must_use]
pub fn groups_of(name: &str, gid: u32) -> Vec<u32> {
    SYSTEM.groups_of(name, gid)
}

/// Not an id: getent(1) takes a number for one.
fn is_name(text: &str) -> bool {
    text.bytes().any(|byte| !byte.is_ascii_digit())
}

static SYSTEM: LazyLock<Database> = LazyLock::new(|| Database {
    passwd: PathBuf::from("/etc/passwd"),
    group: PathBuf::from("/etc/group"),
    getent: PathBuf::from("getent"),
    answer_takes: ANSWER_TAKES,
    answers: Mutex::default(),
});

/// Where to look, and what was answered lately.
struct Database {
    passwd: PathBuf,
    group: PathBuf,
    getent: PathBuf,
    /// How long it may take.
    answer_takes: Duration,
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    known: HashMap<Question, Answer>,
    /// When it was last waited for in vain.
    silent: Option<Instant>,
}

/// A database of getent(1)'s, and what was asked for.
type Question = (&'static str, String);

struct Answer {
    at: Instant,
    text: Vec<u8>,
}

impl Database {
    fn user(&self, key: &str, wanted: impl Fn(&User) -> bool) -> Result<Option<User>, Unanswered> {
        let find = |text: &[u8]| lines(text).filter_map(parse_user).find(&wanted);
        match find(&read(&self.passwd)) {
            None => Ok(find(&self.ask("passwd", key)?)),
            found => Ok(found),
        }
    }

    /// The id of a group.
    fn group(
        &self,
        key: &str,
        wanted: impl Fn(&Group<'_>) -> bool,
    ) -> Result<Option<u32>, Unanswered> {
        let find = |text: &[u8]| {
            let mut groups = lines(text).filter_map(Group::parse);
            groups.find(&wanted).map(|group| group.gid)
        };
        match find(&read(&self.group)) {
            None => Ok(find(&self.ask("group", key)?)),
            found => Ok(found),
        }
    }

    fn groups_of(&self, user: &str, gid: u32) -> Vec<u32> {
        let text = read(&self.group);
        let member = |group: &Group<'_>| group.members().any(|name| name == user.as_bytes());
        let in_file = lines(&text).filter_map(Group::parse).filter(member).map(|group| group.gid);
        let mut gids: Vec<u32> = in_file.collect();
        // `NAME  GID GID …`: every source has a say, so it is asked whatever the file has. Where it does
        // not answer, there are fewer groups.
        let answer = self.ask("initgroups", user).unwrap_or_default();
        gids.extend(answer.split(u8::is_ascii_whitespace).skip(1).filter_map(number));
        gids.retain(|other| *other != gid);
        gids.sort_unstable();
        gids.dedup();
        gids.insert(0, gid);
        gids
    }

    /// What getent(1) says; nothing where it knows nothing, or is not there.
    fn ask(&self, database: &'static str, key: &str) -> Result<Vec<u8>, Unanswered> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let question = (database, key.to_owned());
        let recent = |at: Instant| at.elapsed() < ANSWER_HOLDS;
        if let Some(answer) = answers.known.get(&question).filter(|answer| recent(answer.at)) {
            return Ok(answer.text.clone());
        }
        if answers.silent.is_some_and(recent) {
            return Err(Unanswered);
        }
        let text = match self.run(database, key) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log::debug!("nobody but the files is asked about {key}: {error}");
                Vec::new()
            }
            Err(error) => {
                log::warn!("failed to ask getent(1) about {key}: {error}");
                if error.kind() == io::ErrorKind::TimedOut {
                    answers.silent = Some(Instant::now());
                }
                return Err(Unanswered);
            }
            Ok(text) => text,
        };
        if answers.known.len() >= ANSWERS_MAX {
            answers.known.clear();
        }
        answers.known.insert(question, Answer { at: Instant::now(), text: text.clone() });
        Ok(text)
    }

    fn run(&self, database: &str, key: &str) -> io::Result<Vec<u8>> {
        let mut getent = Command::new(&self.getent);
        getent.args(["--", database, key]).stdin(Stdio::null()).stderr(Stdio::null());
        let mut getent = getent.stdout(Stdio::piped()).spawn()?;
        let output = getent.stdout.take().map(|output| read_within(output, self.answer_takes));
        // Its exit code tells no more: for a key that is not found it prints nothing.
        let _ = getent.kill();
        getent.wait()?;
        output.unwrap_or_else(|| Ok(Vec::new()))
    }
}

/// Reads to the end, unless that takes too long or is too much.
fn read_within(mut output: ChildStdout, time: Duration) -> io::Result<Vec<u8>> {
    let (deadline, mut text) = (Instant::now() + time, Vec::new());
    let mut piece = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the deadline has passed on waking.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1));
        let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX)) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
        }
        match output.read(&mut piece)? {
            0 => return Ok(text),
            _ if text.len() >= ANSWER_BYTES_MAX => return Err(io::ErrorKind::FileTooLarge.into()),
            bytes => text.extend_from_slice(&piece[..bytes]),
        }
    }
}

fn read(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap_or_else(|error| {
        log::debug!("failed to read {}: {error}", file.display());
        Vec::new()
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn number(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// A line of passwd(5). One of another form counts as none.
fn parse_user(line: &[u8]) -> Option<User> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = str::from_utf8(fields.next()?).ok().filter(|name| !name.is_empty())?.to_owned();
    let (uid, gid) = (number(fields.nth(1)?)?, number(fields.next()?)?);
    let home = PathBuf::from(OsStr::from_bytes(fields.nth(1)?));
    Some(User { name, uid, gid, home })
}

/// A line of group(5).
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl<'a> Group<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some(Self { name, gid: number(fields.nth(1)?)?, members: fields.next()? })
    }

    fn members(&self) -> impl Iterator<Item = &'a [u8]> {
        self.members.split(|byte| *byte == b',').filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// Files with one user and two groups, and a getent(1) that counts how often it is asked.
    fn database() -> (TempDir, Database) {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("passwd"), "+\n\nbad:x\nada:x:1000:100:Ada,,:/home/ada:/bin/sh\n").unwrap();
        fs::write(at("group"), "users:x:100:\nbuilders:x:200:bob,ada\nothers:x:201:adam\n")
            .unwrap();
        let script = "#!/bin/sh\n\
            echo asked >>\"${0%/*}/asked\"\n\
            case \"$1 $2 $3\" in\n\
            '-- passwd eve' | '-- passwd 2000') echo 'eve:*:2000:300::/net/eve:' ;;\n\
            '-- group remote' | '-- group 300') echo 'remote:*:300:eve' ;;\n\
            '-- initgroups ada') echo 'ada                  100 200 300' ;;\n\
            *) exit 2 ;;\n\
            esac\n";
        make_program(&at("getent"), script);
        let database = Database {
            passwd: at("passwd"),
            group: at("group"),
            getent: at("getent"),
            answer_takes: Duration::from_secs(60),
            answers: Mutex::default(),
        };
        (directory, database)
    }

    /// Written by another process: what a test beside this one starts meanwhile would have it open, and
    /// a file that is open for writing is not executed (`ETXTBSY`, execve(2)).
    fn make_program(path: &Path, text: &str) {
        let mut sh = Command::new("/bin/sh");
        sh.args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""]).arg(path).arg(text);
        assert!(sh.status().unwrap().success());
    }

    fn asked(directory: &TempDir) -> usize {
        fs::read_to_string(directory.path().join("asked")).map_or(0, |text| text.lines().count())
    }

    fn by_name(database: &Database, name: &str) -> Option<User> {
        database.user(name, |user| user.name == name).unwrap()
    }

    fn group_by_name(database: &Database, name: &str) -> Result<Option<u32>, Unanswered> {
        database.group(name, |group| group.name == name.as_bytes())
    }

    #[test]
    fn whom_the_file_knows_nobody_else_is_asked_about() {
        let (directory, database) = database();
        let ada =
            User { name: "ada".to_owned(), uid: 1000, gid: 100, home: PathBuf::from("/home/ada") };
        assert_eq!(by_name(&database, "ada"), Some(ada.clone()));
        assert_eq!(database.user("1000", |user| user.uid == 1000), Ok(Some(ada)));
        assert_eq!(group_by_name(&database, "builders"), Ok(Some(200)));
        assert_eq!(database.group("201", |group| group.gid == 201), Ok(Some(201)));
        assert_eq!(asked(&directory), 0);
    }

    #[test]
    fn whom_the_file_does_not_know_getent_may() {
        let (_directory, database) = database();
        let eve = by_name(&database, "eve").unwrap();
        assert_eq!((eve.uid, eve.gid, eve.home.as_path()), (2000, 300, Path::new("/net/eve")));
        assert_eq!(database.user("2000", |user| user.uid == 2000), Ok(Some(eve)));
        assert_eq!(group_by_name(&database, "remote"), Ok(Some(300)));
        assert_eq!(database.group("300", |group| group.gid == 300), Ok(Some(300)));
        assert_eq!(by_name(&database, "mallory"), None);
        assert_eq!(group_by_name(&database, "nobodys"), Ok(None));
    }

    #[test]
    fn an_answer_about_somebody_else_is_none() {
        let (_directory, database) = database();
        // getent(1) would answer about a number by id.
        assert_eq!(database.user("2000", |user| user.name == "2000"), Ok(None));
    }

    #[test]
    fn groups_are_those_of_every_source() {
        let (_directory, database) = database();
        assert_eq!(database.groups_of("ada", 100), [100, 200, 300]);
    }

    #[test]
    fn nobody_is_asked_twice_within_a_while() {
        let (directory, database) = database();
        for _ in 0..3 {
            assert_eq!(by_name(&database, "mallory"), None);
            assert!(by_name(&database, "eve").is_some());
        }
        assert_eq!(asked(&directory), 2);
    }

    #[test]
    fn without_getent_the_files_are_what_there_is() {
        let (directory, mut database) = database();
        database.getent = directory.path().join("none");
        assert_eq!(database.groups_of("ada", 100), [100, 200]);
        assert_eq!(by_name(&database, "eve"), None);
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let (_directory, mut database) = database();
        let answering = database.getent.clone();
        let script = "#!/bin/sh\necho 'eve:*:2000:300::/net/eve:'\nexec sleep infinity\n";
        database.getent = answering.with_file_name("silent");
        make_program(&database.getent, script);
        let patience = std::mem::replace(&mut database.answer_takes, Duration::from_millis(1));
        assert_eq!(database.user("eve", |user| user.name == "eve"), Err(Unanswered));
        // Nor, for a while, when it is asked about something else, though it would know now.
        (database.getent, database.answer_takes) = (answering, patience);
        assert_eq!(group_by_name(&database, "remote"), Err(Unanswered));
        database.answers = Mutex::default();
        assert_eq!(group_by_name(&database, "remote"), Ok(Some(300)), "the control");
    }

    #[test]
    fn who_does_not_stop_is_not_heard_to_the_end() {
        let (_directory, database) = database();
        make_program(&database.getent, "#!/bin/sh\nexec yes\n");
        assert_eq!(database.user("eve", |user| user.name == "eve"), Err(Unanswered));
    }

    #[test]
    fn this_machine_knows_root() {
        let root = with_uid(0).unwrap();
        assert_eq!((root.name.as_str(), root.gid), ("root", 0));
        assert_eq!(named("root"), Some(root));
        assert_eq!(named("0"), None);
        assert_eq!(group_named("root"), Some(0));
        assert!(groups_of("root", 0).contains(&0));
    }
}
