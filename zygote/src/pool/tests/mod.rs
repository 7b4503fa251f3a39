//! The pool's rules one by one ([`rules`]), under random events ([`random_events`]) and in a world
//! that goes wrong ([`simulation`]); a naive [`model`] watches over all of them.

mod model;
mod random;
mod random_events;
mod rules;
mod simulation;

use super::{Effect, Event, Pool, Settings, SlotKey, Time, WaiterKey};
use model::Model;
use std::time::Duration;

/// A pool and the model that checks each of its answers.
struct Watched {
    pool: Pool,
    model: Model,
}

impl Watched {
    fn new(settings: Settings) -> Self {
        Self { pool: Pool::new(settings), model: Model::new(settings) }
    }

    fn handle(&mut self, now: Time, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.pool.handle(now, event.clone(), &mut effects);
        self.model.check(&self.pool, now, &event, &effects);
        effects
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
