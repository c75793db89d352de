//! A list that changes while a client reads its pages: each identity that lives all the time is listed exactly once.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::json;

use super::{handles, next};
use crate::harness::{Caller, World, ids};

/// A change between two pages.
#[derive(Debug, Clone)]
enum Act {
    Create,
    Delete(usize),
    Rename(usize),
    Pause(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        Just(Act::Create),
        any::<usize>().prop_map(Act::Delete),
        any::<usize>().prop_map(Act::Rename),
        any::<usize>().prop_map(Act::Pause),
    ];
    proptest::collection::vec(act, 0..4)
}

impl Act {
    fn happen(&self, admin: &Caller, count: &mut usize) {
        *count += 1;
        let live = admin.handles();
        let any = |place: &usize| live.get(place % live.len().max(1)).cloned();
        match self {
            Self::Create => drop(admin.create(&format!("later-{count}"))),
            Self::Delete(place) => {
                if let Some(handle) = any(place) {
                    admin.remove(&handle);
                }
            }
            Self::Rename(place) => {
                if let Some(handle) = any(place) {
                    let renamed = json!({ "agent_handle": format!("renamed-{count}") });
                    admin.change(&handle, &renamed).ok();
                }
            }
            Self::Pause(place) => {
                if let Some(handle) = any(place) {
                    admin.change(&handle, &json!({ "status": "paused" })).ok();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 16, max_shrink_iters: 40, failure_persistence: None, ..Config::default() })]

    #[test]
    fn who_lives_throughout_is_met_exactly_once(
        identities in 0..14_usize,
        turns in proptest::collection::vec((1..5_u32, acts()), 1..8),
    ) {
        let world = World::with_names_for_free();
        let admin = world.admin();
        for number in 0..identities {
            admin.create(&format!("first-{number}"));
        }
        let mut throughout: BTreeSet<String> = ids(&admin.identities()).into_iter().collect();
        let mut met = Vec::new();
        let mut path = Some("/identities?limit=1".to_owned());
        let (mut turns, mut count) = (turns.into_iter().cycle(), 0);
        while let Some(this) = path {
            let (limit, acts) = turns.next().unwrap();
            let page = admin.get(&this.replace("limit=1", &format!("limit={limit}"))).must_be(200);
            met.extend(ids(page.json().as_array().unwrap()));
            prop_assert!(handles(&page.json()).len() <= limit as usize);
            path = next(&page).map(|path| path.replace(&format!("limit={limit}"), "limit=1"));
            for act in &acts {
                act.happen(&admin, &mut count);
            }
            let live: BTreeSet<String> = ids(&admin.identities()).into_iter().collect();
            throughout.retain(|id| live.contains(id));
        }
        let once: BTreeSet<&String> = met.iter().collect();
        prop_assert_eq!(once.len(), met.len(), "somebody was met twice");
        prop_assert!(throughout.iter().all(|id| once.contains(id)), "somebody was missed");
    }
}
