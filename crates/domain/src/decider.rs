//! The form of every aggregate: `decide` has all rules, and `evolve` only applies events.
//!
//! `evolve` never refuses an event. So a stricter rule never prevents an aggregate with old events from loading.

use std::fmt;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate as CqrsAggregate, DomainEvent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::facts::{Facts, Needs};

/// An aggregate as two pure functions.
pub trait Decider:
    Default + Clone + PartialEq + fmt::Debug + Serialize + DeserializeOwned + Send + Sync
{
    /// The wire name of the aggregate. The names of its events begin with it.
    const TYPE: &'static str;
    /// Its commands, named in the imperative.
    type Command: Clone + fmt::Debug + Send;
    /// Its events, named in the past tense.
    type Event: DomainEvent;
    /// Its refusals. The text of each is one sentence of the domain.
    type Error: std::error::Error + PartialEq + Send + Sync + 'static;

    /// What has to be looked up before the command can be decided.
    fn needs(command: &Self::Command) -> Needs;

    /// Decides a command by all rules. Returns `Ok(vec![])` if it changes nothing.
    fn decide(&self, command: &Self::Command, facts: &Facts) -> Result<Vec<Self::Event>, Self::Error>;

    /// Applies an event: keeps what `decide` needs. Accepts every event.
    fn evolve(&mut self, event: &Self::Event);
}

/// A [`Decider`] as an aggregate of cqrs-es, so that its stores can load and commit our aggregates.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "", transparent)]
pub struct Aggregate<D: Decider>(pub D);

impl<D: Decider> CqrsAggregate for Aggregate<D> {
    const TYPE: &'static str = D::TYPE;
    type Command = (D::Command, Facts);
    type Event = D::Event;
    type Error = D::Error;
    type Services = ();

    async fn handle(
        &mut self,
        (command, facts): Self::Command,
        (): &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        // The sink applies events to the aggregate, and some stores of cqrs-es 0.5 apply them again at commit. So the
        // sink gets a copy.
        let mut scratch = self.clone();
        for event in self.0.decide(&command, &facts)? {
            sink.write(event, &mut scratch).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.0.evolve(&event);
    }
}

#[cfg(test)]
mod tests;
