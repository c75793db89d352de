//! Properties that are true after every sequence of commands to an identity.

mod lives;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use lives::{TARGET, command, decide, elsewhere, life, live};

/// The event after it was encoded and decoded.
fn recalled(event: &Event) -> Event {
    serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap()
}

fn folded<'a>(history: impl IntoIterator<Item = &'a Event>) -> Identity {
    let mut state = Identity::default();
    history.into_iter().for_each(|event| state.evolve(event));
    state
}

proptest! {
    #[test]
    fn history_tells_the_state_that_decisions_saw(steps in life()) {
        let mut history = vec![];
        live(&steps, |_, _, decision, after| {
            history.extend(decision.iter().flatten().map(recalled));
            prop_assert_eq!(&folded(&history), after);
            Ok(())
        })?;
    }

    #[test]
    fn a_state_survives_being_stored(steps in life()) {
        live(&steps, |_, _, _, after| {
            let stored = serde_json::to_value(after).unwrap();
            prop_assert_eq!(&serde_json::from_value::<Identity>(stored).unwrap(), after);
            Ok(())
        })?;
    }

    #[test]
    fn visibility_is_none_or_wildcard_or_names_somebody_else(steps in life()) {
        live(&steps, |_, _, _, after| {
            if let Identity::Live(live) = after && let Visibility::Explicit(viewers) = &live.visibility {
                prop_assert!(!viewers.is_empty());
                prop_assert!(!viewers.contains(&TARGET));
            }
            Ok(())
        })?;
    }

    #[test]
    fn who_was_granted_sees_and_who_was_revoked_does_not(steps in life()) {
        live(&steps, |_, (command, _), decision, after| {
            let (Identity::Live(live), Ok(_)) = (after, decision) else { return Ok(()) };
            let sees = |viewer: &Uuid| match &live.visibility {
                Visibility::None => false,
                Visibility::Wildcard => true,
                Visibility::Explicit(viewers) => viewers.contains(viewer),
            };
            match command {
                Command::GrantVisibility { viewer, .. } => prop_assert!(sees(viewer)),
                Command::RevokeVisibility { viewer } => prop_assert!(!sees(viewer)),
                Command::OpenVisibility { .. } => prop_assert_eq!(&live.visibility, &Visibility::Wildcard),
                _ => {}
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_deleted_identity_accepts_nothing(steps in life(), afterwards in vec((command(), elsewhere()), 1..20)) {
        let mut state = Identity::default();
        for step in &steps {
            decide(&state, step).iter().flatten().for_each(|event| state.evolve(event));
        }
        prop_assume!(state != Identity::NotYet);
        state.decide(&Command::Delete, &Facts::default()).iter().flatten().for_each(|event| state.evolve(event));
        prop_assert_eq!(&state, &Identity::Deleted);
        for step in &afterwards {
            let refusal = match step.0 {
                Command::Create(_) => IdentityError::AlreadyCreated,
                _ => IdentityError::NotFound,
            };
            prop_assert_eq!(decide(&state, step), Err(refusal));
        }
    }

    #[test]
    fn every_event_changes_the_state(steps in life()) {
        live(&steps, |before, _, decision, _| {
            let mut state = before.clone();
            for event in decision.iter().flatten() {
                let earlier = state.clone();
                state.evolve(event);
                prop_assert_ne!(&state, &earlier, "{:?} was forgotten", event);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_number_treats_calls_only_in_ways_it_has_the_address_for(steps in life()) {
        live(&steps, |_, _, _, after| {
            if let Identity::Live(live) = after && let Some(phone) = &live.phone {
                prop_assert_eq!(phone.calls.missing_address(), None);
                prop_assert_eq!(phone.calls.unclear_target(), None);
            }
            Ok(())
        })?;
    }

    #[test]
    fn where_both_directions_have_one_mode_it_is_the_shared_one(steps in life()) {
        live(&steps, |_, _, _, after| {
            if let Identity::Live(live) = after {
                for channel in [Channel::Mail, Channel::Phone] {
                    let modes = live.filters.of(channel);
                    prop_assert!(modes.common().is_none_or(|mode| mode == modes.shared), "{:?}", modes);
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn an_update_that_was_made_is_not_made_again(steps in life()) {
        live(&steps, |_, step, decision, after| {
            if let (Command::Update(_), Ok(_)) = (&step.0, decision) {
                prop_assert_eq!(decide(after, step), Ok(vec![]));
            }
            Ok(())
        })?;
    }
}
