//! The shape of every aggregate: `decide` holds the rules, `evolve` only remembers.
//!
//! `evolve` never rejects: history is not up for debate, so tightening a rule can never break loading an old stream.

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
    /// The wire name of the aggregate, the first part of its events' names.
    const TYPE: &'static str;
    /// What may be asked of it, imperative.
    type Command: Clone + fmt::Debug + Send;
    /// What happened to it, past tense.
    type Event: DomainEvent;
    /// Why it refuses, one sentence of the business each.
    type Error: std::error::Error + PartialEq + Send + Sync + 'static;

    /// What has to be known beyond this aggregate before the command can be decided.
    fn needs(command: &Self::Command) -> Needs;

    /// Holds every rule. Nothing to do is `Ok(vec![])`.
    fn decide(&self, command: &Self::Command, facts: &Facts) -> Result<Vec<Self::Event>, Self::Error>;

    /// Remembers what `decide` will need; total.
    fn evolve(&mut self, event: &Self::Event);
}

/// A [`Decider`] as cqrs-es sees it, so that its stock stores can load and commit our aggregates.
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
        // The sink applies what it is given, and some stores of cqrs-es 0.5 apply it again at commit: it gets a scratch.
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
