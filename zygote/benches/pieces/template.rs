//! A real template that builds zygotes and takes them down, without a server.

use super::Piece;
use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::rc::Rc;
use std::time::{Duration, Instant};
use zyg_protocol::codec::{Message, decode, encode};
use zyg_protocol::limits::MESSAGE_BYTES_MAX;
use zyg_protocol::message::{
    Authority, Bytes, Confinement, FromTemplate, Lifeline, Recipe, ToTemplate, View,
};
use zyg_protocol::socket::{pair, receive, send};

/// From the order to a parked zygote, and from the order to nothing left; none where this user
/// cannot make environments.
pub fn pieces() -> Vec<Piece> {
    let template = match Template::start() {
        Ok(template) => Rc::new(RefCell::new(template)),
        Err(reason) => {
            eprintln!("spawn and destroy are left out: {reason}");
            return Vec::new();
        }
    };
    let other = Rc::clone(&template);
    vec![
        Piece::timed("template_spawn", move || Some(template.borrow_mut().cycle().0)),
        Piece::timed("template_destroy", move || Some(other.borrow_mut().cycle().1)),
    ]
}

struct Template {
    link: OwnedFd,
    process: Child,
    buffer: Vec<u8>,
    slot: u64,
}

impl Template {
    fn start() -> Result<Self, String> {
        let (link, theirs) = pair().map_err(|errno| errno.to_string())?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg(zygote::template::ROLE).stdin(theirs);
        let process = command.spawn().map_err(|error| error.to_string())?;
        drop(command);
        let buffer = vec![0; MESSAGE_BYTES_MAX];
        let mut template = Self { link, process, buffer, slot: 0 };
        template.order(&ToTemplate::Build(Box::new(recipe())), None);
        match template.hear() {
            FromTemplate::Ready { .. } => Ok(template),
            other => Err(format!("{other:?}")),
        }
    }

    fn order(&mut self, message: &ToTemplate, lifeline: Option<OwnedFd>) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).expect("it is within its bound");
        let riding: Vec<_> = lifeline.iter().map(AsFd::as_fd).collect();
        send(self.link.as_fd(), &bytes, &riding).expect("the template lives");
    }

    fn hear(&mut self) -> FromTemplate {
        heard(&self.link, &mut self.buffer).0
    }

    /// How long one takes to be parked, and then to be gone.
    fn cycle(&mut self) -> (Duration, Duration) {
        self.slot += 1;
        let slot = self.slot;
        let (lifeline, theirs) = pair().expect("two more descriptors");
        let start = Instant::now();
        self.order(&ToTemplate::Spawn { slot, urgent: true }, Some(theirs));
        let (parked, _descriptors) = heard::<Lifeline>(&lifeline, &mut self.buffer);
        assert!(matches!(parked, Lifeline::Ready { .. }), "{parked:?}");
        let spawn = start.elapsed();
        let start = Instant::now();
        self.order(&ToTemplate::Destroy { slot }, None);
        assert_eq!(self.hear(), FromTemplate::Gone { slot });
        (spawn, start.elapsed())
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        let (link, _) = pair().expect("two more descriptors");
        // The end of its link ends it.
        self.link = link;
        let _ = self.process.wait();
    }
}

fn heard<M: Message>(socket: &OwnedFd, buffer: &mut [u8]) -> (M, Vec<OwnedFd>) {
    let received = receive(socket.as_fd(), buffer).expect("the peer lives");
    let message = decode(&buffer[..received.bytes]).expect("the peer speaks the same wire");
    (message, received.descriptors)
}

/// What the built-in profile comes to, as far as it costs anything.
fn recipe() -> Recipe {
    let paths = |paths: &[&str]| paths.iter().map(|path| Bytes::from(path.as_bytes())).collect();
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    Recipe {
        authority: Authority { uid, gid, ..Authority::default() },
        view: View { private: paths(&["/tmp", "/var/tmp", "/dev/shm", "/run"]), ..View::default() },
        confinement: Confinement { descriptors: (1024, 1024), ..Confinement::default() },
        ..Recipe::default()
    }
}
