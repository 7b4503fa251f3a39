//! `zyg drain`: the orderly end of a server, and what its exit codes say of one.

use crate::cli::Drain;
use crate::connect::{find, unserved};
use crate::{EXIT_LEASES_ENDED, EXIT_STUCK, EXIT_SUCCESS, complain, print};
use serde_json::json;
use zygote_client::{DrainError, Drained};

/// Has the server end, waits for that, and tells what became of its leases. Starts none: a server
/// that is not there has nothing to finish.
pub fn drain(drain: &Drain) -> anyhow::Result<u8> {
    let client = find(&drain.server)?;
    let drained = client.drain(drain.timeout).map_err(|error| match error {
        DrainError::Request(error) => unserved(error.into(), &drain.server),
        error => error.into(),
    })?;
    let Drained { ended, stuck } = drained;
    if drain.json {
        let whole = json!({ "version": 1, "ended": ended, "stuck": stuck });
        print(&format!("{whole}\n"))?;
    }
    complain(&told(drained));
    Ok(exit_code(ended, stuck))
}

/// What the end of a server came to: that something is left matters more than how leases ended.
pub fn exit_code(leases_ended: u32, stuck: u32) -> u8 {
    match (leases_ended, stuck) {
        (0, 0) => EXIT_SUCCESS,
        (_, 0) => EXIT_LEASES_ENDED,
        (_, _) => EXIT_STUCK,
    }
}

fn told(Drained { ended, stuck }: Drained) -> String {
    let mut text = match ended {
        0 => "the server has ended, and every lease had finished by itself".to_owned(),
        1 => "the server has ended, and so has 1 lease, whose time was over".to_owned(),
        more => format!("the server has ended, and so have {more} leases, whose time was over"),
    };
    if stuck > 0 {
        let (environments, are) =
            if stuck == 1 { ("environment", "is") } else { ("environments", "are") };
        text.push_str(&format!(
            "; {stuck} {environments} {are} left with a process in an uninterruptible sleep \
             (state D in `ps`), which the kernel ends as soon as it wakes"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_the_worst() {
        let codes = [exit_code(0, 0), exit_code(2, 0), exit_code(0, 1), exit_code(2, 1)];
        assert_eq!(codes, [0, 3, 4, 4]);
    }

    #[test]
    fn what_is_told_is_what_happened() {
        let told = |ended, stuck| told(Drained { ended, stuck });
        assert_eq!(told(0, 0), "the server has ended, and every lease had finished by itself");
        assert!(told(1, 0).ends_with("1 lease, whose time was over"));
        assert!(told(3, 0).ends_with("3 leases, whose time was over"));
        let stuck = told(3, 2);
        assert!(stuck.contains("3 leases") && stuck.contains("2 environments are left"), "{stuck}");
    }
}
