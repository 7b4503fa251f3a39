//! What cannot be had of a zygote that is used again.

use super::{Judge, Side, items};
use crate::config::capabilities;
use crate::config::profile::{Identity, Network, Recycle, Seccomp};

/// Calls by which something is left where nobody looks for it: keys of a user namespace, and sockets that
/// a filter does not see (io_uring_enter(2)).
const UNSEEN: [&str; 6] =
    ["add_key", "keyctl", "request_key", "io_uring_setup", "io_uring_enter", "io_uring_register"];

impl Judge<'_> {
    /// Of a zygote that is used again it must be possible to see that nothing is left in it.
    pub(super) fn recycle(&mut self) {
        let draft = self.draft;
        let Some(recycle) = draft.recycle.get().filter(|said| said.value == Recycle::Whole) else {
            return;
        };
        let whole = Side::new("recycle", recycle);
        if let Some(network) = draft.network.get().filter(|said| said.value != Network::Loopback) {
            let message = "`recycle = \"whole\"` is for networks that no command can change: say \
                           network = \"loopback\"";
            self.clash(whole, Side::new("network", network), message);
        }
        if let Some(said) = draft.seccomp.get() {
            let seccomp = Side::new("seccomp", said);
            match &said.value {
                Seccomp::Default => {}
                Seccomp::Off => {
                    let message = "`recycle = \"whole\"` needs a filter, and `seccomp` is \"off\": \
                                   say seccomp = \"default\"";
                    self.clash(whole, seccomp, message);
                }
                Seccomp::Changed { allow, .. } => {
                    for call in allow.iter().filter(|call| UNSEEN.contains(&call.as_str())) {
                        let message = format!(
                            "`seccomp` allows {call:?}, which may leave what `recycle = \"whole\"` \
                             does not see: remove one"
                        );
                        self.clash(seccomp, whole, &message);
                    }
                }
            }
        }
        for said in items(&draft.capabilities) {
            let capability = capabilities::name(said.value);
            let message = format!(
                "`capabilities` has {capability:?}, which may change what `recycle = \"whole\"` \
                 keeps: remove one"
            );
            self.clash(Side::new("capabilities", said), whole, &message);
        }
        if let Some(identity) = draft.identity.get().filter(|said| said.value == Identity::Slice) {
            let message = "`recycle = \"whole\"` is for commands that are trusted, and with `identity = \
                           \"slice\"` none is: say identity = \"client\"";
            self.clash(whole, Side::new("identity", identity), message);
        }
    }
}
