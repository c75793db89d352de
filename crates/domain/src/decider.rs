//! The form of every aggregate: `decide` has all rules, and `evolve` only applies events.
//!
//! `evolve` never refuses an event. So a stricter rule never prevents an aggregate with old events from loading.

use std::fmt;

use cqrs_es::event_sink::EventSink;

use crate::facts::{Facts, Needs};

/// An aggregate of cqrs-es whose handling of commands and whose application of events are two pure functions. Its services are the
/// facts that a decision needs.
///
/// The log calls the functions, and not [`handle`](cqrs_es::Aggregate::handle), which calls them for whoever uses cqrs-es: a
/// command is decided without copying the aggregate, and its events are applied once they have their place in the log.
pub trait Decider:
    cqrs_es::Aggregate<
        Command: Clone + fmt::Debug + Send + Sync,
        Error: PartialEq + Send + Sync + 'static,
        Services = Facts,
    > + Clone
    + PartialEq
    + fmt::Debug
    + 'static
{
    /// What has to be looked up before the command can be decided.
    fn needs(_command: &Self::Command) -> Needs {
        Needs::default()
    }

    /// Whether the command creates the aggregate under a newly generated id, so that no other aggregate has this id. That is not so
    /// for a vault secret, whose id a client may choose, and for a vault, whose id follows from its organization.
    fn begins(_command: &Self::Command) -> bool {
        false
    }

    /// Whether the event ends the aggregate, which then refuses every command.
    fn ends_with(_event: &Self::Event) -> bool {
        false
    }

    /// Decides a command by all rules. Returns `Ok(vec![])` if it changes nothing.
    fn decide(&self, command: &Self::Command, facts: &Facts) -> Result<Vec<Self::Event>, Self::Error>;

    /// Applies an event: keeps what `decide` needs. Accepts every event.
    fn evolve(&mut self, event: &Self::Event);
}

/// Handles a command as cqrs-es wants it: the events go into the sink.
///
/// The sink applies events to the aggregate, and some stores of cqrs-es 0.5 apply them again at commit. So the sink gets a copy.
pub(crate) async fn handle<D: Decider>(
    aggregate: &D,
    command: &D::Command,
    facts: &Facts,
    sink: &EventSink<D>,
) -> Result<(), D::Error> {
    let mut scratch = aggregate.clone();
    for event in aggregate.decide(command, facts)? {
        sink.write(event, &mut scratch).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
