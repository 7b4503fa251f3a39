//! Several leases of one request: all of them or none.

use crate::client::RequestError;
use crate::lease::{AcquireError, Lease};
use crate::mailbox::Mail;
use crate::session::{Answers, Session, SessionError, stray};
use std::sync::Arc;
use zyg_protocol::message::{Bytes, Reply, RequestId};

/// How many withdrawals are sent before their answers are taken: a server gives up a client that
/// leaves more answers unread than it stores for one.
const WITHDRAWN_AT_ONCE: usize = 64;

/// What has been had of one request for many.
#[derive(Debug)]
pub(crate) struct Batch {
    session: Arc<Session>,
    cwd: Option<Bytes>,
    hostname: Option<String>,
    taken: Vec<Lease>,
}

impl Batch {
    /// Nothing yet. `cwd` and `hostname` are as they were asked of each.
    pub(crate) fn new(session: Arc<Session>, cwd: Option<Bytes>, hostname: Option<String>) -> Self {
        Self { session, cwd, hostname, taken: Vec::new() }
    }

    /// Waits for all of the leases, given the answer that has come already and those to come. Each is
    /// being prepared as soon as it is granted, while the others are waited for.
    pub(crate) fn collect(
        mut self,
        first: Option<Mail<Reply>>,
        mut answers: Answers,
    ) -> Result<Vec<Lease>, AcquireError> {
        let mut next = first;
        while let Some(mail) = next {
            if let Err(error) = self.take(mail) {
                self.withdraw(&mut answers);
                return Err(error);
            }
            next = answers.next().map_err(RequestError::from)?;
        }
        // One that fails gives itself back, and with the iterator so do all others.
        let ready = |lease: Lease| lease.prepared().map(|()| lease);
        self.taken.into_iter().map(ready).collect()
    }

    fn take(&mut self, mail: Mail<Reply>) -> Result<(), AcquireError> {
        match mail.message {
            Reply::Granted(granted) => {
                let session = Arc::clone(&self.session);
                let (cwd, hostname) = (self.cwd.clone(), self.hostname.clone());
                let taken = Lease::new(session, granted, mail.descriptors, cwd, hostname)?;
                self.taken.push(taken);
                Ok(())
            }
            Reply::Denied { denial, .. } => Err(AcquireError::Denied(denial)),
            other => Err(RequestError::from(stray(&other)).into()),
        }
    }

    /// Withdraws what is not answered, takes what was under way nevertheless, and gives all of it
    /// back: last, since else it would be granted to what is not withdrawn yet. A session that ends
    /// meanwhile has ended it all.
    fn withdraw(mut self, answers: &mut Answers) {
        loop {
            let numbers: Vec<_> = answers.missing().take(WITHDRAWN_AT_ONCE).collect();
            if numbers.is_empty() || self.withdraw_some(&numbers, answers).is_err() {
                return;
            }
        }
    }

    fn withdraw_some(
        &mut self,
        numbers: &[RequestId],
        answers: &mut Answers,
    ) -> Result<(), SessionError> {
        for number in numbers {
            self.session.cancel(*number)?;
        }
        for _ in numbers {
            if let Some(mail) = answers.next()? {
                // A denial is what was to come; another failure to take one has given it back.
                let _ = self.take(mail);
            }
        }
        Ok(())
    }
}
