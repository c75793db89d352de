//! The form of domain tests: given these events and facts, when this command is decided, then these events follow.

use crate::decider::Decider;
use crate::facts::Facts;

/// An aggregate with its events and facts.
#[derive(Debug)]
pub(crate) struct Given<D: Decider> {
    state: D,
    facts: Facts,
}

/// The decision of an aggregate.
#[derive(Debug)]
pub(crate) struct Decided<D: Decider> {
    state: D,
    decision: Result<Vec<D::Event>, D::Error>,
}

/// An aggregate with these events, in order, and no facts.
pub(crate) fn given<D: Decider>(history: impl IntoIterator<Item = D::Event>) -> Given<D> {
    let mut state = D::default();
    for event in history {
        state.evolve(&event);
    }
    Given { state, facts: Facts::default() }
}

impl<D: Decider> Given<D> {
    pub(crate) fn with(self, facts: Facts) -> Self {
        Self { facts, ..self }
    }

    pub(crate) fn when(self, command: &D::Command) -> Decided<D> {
        let decision = self.state.decide(command, &self.facts);
        Decided { state: self.state, decision }
    }

    pub(crate) fn into_state(self) -> D {
        self.state
    }

    #[track_caller]
    pub(crate) fn is(self, expected: &D) {
        assert_eq!(&self.state, expected);
    }
}

impl<D: Decider> Decided<D> {
    /// Checks that exactly these events follow, in this order. Returns the aggregate after them.
    #[track_caller]
    pub(crate) fn then(self, expected: impl IntoIterator<Item = D::Event>) -> Given<D> {
        let events = self.decision.expect("the command is accepted");
        assert_eq!(events, expected.into_iter().collect::<Vec<_>>());
        let mut state = self.state;
        for event in &events {
            state.evolve(event);
        }
        Given { state, facts: Facts::default() }
    }

    /// Checks that the command is accepted and yields no events.
    #[track_caller]
    pub(crate) fn then_nothing(self) {
        self.then([]);
    }

    #[track_caller]
    pub(crate) fn then_err(self, expected: D::Error) {
        assert_eq!(self.decision, Err(expected));
    }
}
