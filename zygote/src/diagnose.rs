//! From a failed step of a template's or an init's to the layer that forbids it and what to change,
//! for the server's log and for clients. The judgement is `zyg doctor`'s.

use crate::doctor::{Facts, Layer, Step, Symptom, diagnose};
use zyg_protocol::message::Failure;

/// The failure in words, with the layer that forbids it and the mend where that can be told.
pub(crate) fn advice(failure: &Failure) -> String {
    explain(failure, Step::of_failure(failure), failure.errno)
}

/// Why a template could not even be started, in the same way.
pub(crate) fn advice_on_start(error: &std::io::Error) -> String {
    let step = match error.raw_os_error() {
        Some(libc::EAGAIN) => Some(Step::Processes),
        _ => None,
    };
    let said = format!("failed to start a template: {error}");
    explain(&said, step, error.raw_os_error().unwrap_or(0))
}

fn explain(failed: &impl std::fmt::Display, step: Option<Step>, errno: i32) -> String {
    // A template has the rights of the user whom it serves, even if the server is root's.
    let facts = Facts { admin: false, ..Facts::read() };
    let cause = diagnose(Symptom { step: step.unwrap_or(Step::Zygote), errno, signal: 0 }, &facts);
    match (cause.layer, cause.why.as_str()) {
        (Layer::Unknown, "") => failed.to_string(),
        (_, "") => format!("{failed} ({})", cause.fix),
        (_, why) => format!("{failed} ({why}: {})", cause.fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zyg_protocol::message::{Bytes, Step as Wire};

    fn failure(step: Wire, errno: i32) -> Failure {
        Failure { step, errno, subject: Bytes::new() }
    }

    #[test]
    fn a_limit_is_told_with_its_mend() {
        let told = advice(&failure(Wire::Sockets, libc::EMFILE));
        assert!(told.contains("(the descriptor limit is reached: raise ulimit -n or"), "{told}");
        let told = advice_on_start(&std::io::Error::from_raw_os_error(libc::EAGAIN));
        assert!(told.starts_with("failed to start a template: "), "{told}");
        assert!(told.contains("(the process limit is reached: raise ulimit -u,"), "{told}");
    }

    #[test]
    fn what_cannot_be_explained_is_told_as_it_is() {
        let plain = failure(Wire::Execute, libc::ENOENT);
        assert_eq!(advice(&plain), plain.to_string());
    }
}
