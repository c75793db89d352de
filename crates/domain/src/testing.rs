//! The grammar of domain tests: given this history and these facts, when that is asked, then this follows.

use crate::decider::Decider;
use crate::facts::Facts;

/// An aggregate with a past.
#[derive(Debug)]
pub(crate) struct Given<D: Decider> {
    state: D,
    facts: Facts,
}

/// What an aggregate decided.
#[derive(Debug)]
pub(crate) struct Decided<D: Decider> {
    state: D,
    decision: Result<Vec<D::Event>, D::Error>,
}

/// An aggregate to which this happened, in this order, and no facts about the rest of the world.
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
    /// Exactly these events, in this order. The aggregate as it is after them is returned, for what happens next.
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

    /// Accepted, and there was nothing to do.
    #[track_caller]
    pub(crate) fn then_nothing(self) {
        self.then([]);
    }

    #[track_caller]
    pub(crate) fn then_err(self, expected: D::Error) {
        assert_eq!(self.decision, Err(expected));
    }
}
