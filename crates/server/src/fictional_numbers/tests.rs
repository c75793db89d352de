use std::collections::HashSet;

use super::{AREA_CODES, all};

const STATES: &str = "AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ \
                      NM NV NY OH OK OR PA RI SC SD TN TX UT VA VT WA WI WV WY";

#[test]
fn every_state_and_the_capital_are_there_once() {
    let states: Vec<&str> = AREA_CODES.iter().map(|(state, _)| *state).collect();
    assert_eq!(states, STATES.split(' ').collect::<Vec<_>>());
    assert_eq!(states.len(), 51);
}

#[test]
fn an_area_code_belongs_to_one_state_and_can_be_dialled() {
    let mut seen = HashSet::new();
    for (state, codes) in AREA_CODES {
        assert!(!codes.is_empty(), "{state} has no area code");
        for code in codes {
            assert!((200..=999).contains(code), "{code} is no area code");
            assert_ne!(code % 100, 11, "{code} is a service code");
            assert!(seen.insert(code), "{code} is there twice");
        }
    }
}

#[test]
fn the_numbers_are_the_hundred_of_every_area_code_that_are_kept_for_fiction() {
    let numbers = all();
    let area_codes: usize = AREA_CODES.iter().map(|(_, codes)| codes.len()).sum();
    let distinct: HashSet<&str> = numbers.iter().map(|number| number.number.as_str()).collect();
    assert_eq!(numbers.len(), area_codes * 100);
    assert_eq!(distinct.len(), numbers.len());
    assert!(distinct.contains("+12125550100") && distinct.contains("+12125550199"));
    assert!(
        numbers.iter().all(|number| number.number.len() == 12 && number.number.get(5..10) == Some("55501"))
    );
}
