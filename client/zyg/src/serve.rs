//! `zyg serve` and `zyg config`.

use crate::cli::{Config as ConfigVerb, Serve};
use crate::drain::exit_code;
use crate::{EXIT_REFUSED, EXIT_SUCCESS, explain, print};
use anyhow::Context;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zygote::config::Config;
use zygote::server::{Access, Idle, Listener, Options, Signals};

/// Read without being named, if it is there.
const SYSTEM_CONFIG: &str = "/etc/zyg/zyg.toml";

/// Serves until told to stop.
pub fn serve(serve: &Serve) -> anyhow::Result<u8> {
    if serve.private {
        zygote::daemonize().context("failed to detach")?;
    }
    if let Some(starter) = serve.ends_with {
        // However that ends (PR_SET_PDEATHSIG(2const)).
        set_pdeathsig(Signal::SIGTERM).context("failed to be told of the end of who starts it")?;
        anyhow::ensure!(getppid().as_raw() == starter, "process {starter} has ended already");
    }
    zygote::keep_to_oneself().context("failed to keep inherited descriptors from others")?;
    let config_file = serve.config.clone().or_else(|| {
        Some(PathBuf::from(SYSTEM_CONFIG)).filter(|path| !serve.private && path.exists())
    });
    let config = match &config_file {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    let signals = Signals::install().context("failed to catch signals")?;
    let listener = listen(serve, &config)?;
    log::info!("listening at {}", listener.path().display());
    let idle = if serve.private {
        Some(Idle {
            exit: Duration::from_millis(serve.idle_exit_ms),
            lock: Some(listener.path().with_file_name("lock")),
        })
    } else {
        config.server.idle_exit.map(|exit| Idle { exit, lock: None })
    };
    let private = serve.private;
    let options = Options { config, config_file, listener, signals, private, idle };
    let ended = zygote::server::run(options)?;
    Ok(exit_code(ended.leases_ended, ended.stuck))
}

/// The socket: the one that was handed in, or the one that is named first in: the command line, the
/// configuration, the default.
fn listen(serve: &Serve, config: &Config) -> anyhow::Result<Listener> {
    let path = serve
        .socket
        .clone()
        .or_else(|| config.server.socket.clone())
        .map_or_else(zygote_client::default_socket, Ok)?;
    if serve.socket_on_stdin {
        let socket = zygote::inherited_descriptor(0).context("standard input is not open")?;
        zygote::close_stdin().context("failed to close standard input")?;
        return Ok(Listener::inherit(socket, &path, true)?);
    }
    if let Some(number) = zygote::systemd::listening_socket() {
        let socket = zygote::inherited_descriptor(number)
            .context("the socket that systemd announced is not open")?;
        return Ok(Listener::inherit(socket, &path, false)?);
    }
    // Where somebody has named it, it may be a slip.
    let ours = serve.socket.is_none();
    if let Some(directory) = path.parent().filter(|directory| ours && !directory.exists()) {
        make_private(directory)
            .with_context(|| format!("failed to make the directory {}", directory.display()))?;
    }
    Ok(Listener::bind(&path, access(config)?)?)
}

/// Who may connect: whom the configuration names, else with a server of root's everybody, since each is
/// served with his own authority.
fn access(config: &Config) -> anyhow::Result<Access> {
    let root = nix::unistd::getuid().is_root();
    let mode = config.server.socket_mode.or(root.then_some(0o666));
    Ok(Access { mode, gid: zygote::server::socket_group(config)? })
}

fn make_private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    // The system's directory is for everybody to look into; one's own for nobody else.
    let mode = if nix::unistd::getuid().is_root() { 0o755 } else { 0o700 };
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(directory)
}

/// Checks a configuration file.
pub fn check(config: &ConfigVerb) -> anyhow::Result<u8> {
    let ConfigVerb::Check { file } = config;
    let judged = Config::load(file).map_err(anyhow::Error::from).and_then(|config| {
        zygote::server::check(&config).with_context(|| file.display().to_string())?;
        Ok(config)
    });
    match judged {
        Ok(config) => {
            let names: Vec<_> = config.profiles.keys().map(String::as_str).collect();
            let told = format!("{} is good: profiles {}", file.display(), names.join(", "));
            print(&format!("{told}\n"))?;
            Ok(EXIT_SUCCESS)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", explain(&error));
            Ok(EXIT_REFUSED)
        }
    }
}
