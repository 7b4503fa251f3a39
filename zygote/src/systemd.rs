//! What systemd hands in: listening sockets (sd_listen_fds(3)).

/// The number of the listening socket that systemd has opened for this process, if it has.
#[must_use]
pub fn listening_socket() -> Option<i32> {
    sd_notify::listen_fds().ok()?.next()
}
