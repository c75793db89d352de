use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use uuid::Uuid;

use super::refused_keys::MAX_REMEMBERED;
use super::turns::tests::key;
use super::{LARGE_ANSWER, Limits, SMALL_ANSWER, Settings, Standing};
use crate::code::Code;

fn limits(refused_keys: u32) -> Limits {
    Limits::new(Settings { refused_keys: NonZeroU32::new(refused_keys), ..Settings::default() })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn spend(limits: &Limits, address: IpAddr) {
    while limits.refused(Some(address)).code() == Code::Unauthorized {}
}

#[test]
fn a_standing_says_what_remains_of_every_quota() {
    let mut standing = Standing::default();
    standing.add("key", NonZeroU32::new(120).unwrap(), 119);
    standing.add("organization", NonZeroU32::new(600).unwrap(), 0);
    assert_eq!(standing.policy, r#""key";q=120;w=60, "organization";q=600;w=60"#);
    assert_eq!(standing.standing, r#""key";r=119;t=1, "organization";r=0;t=60"#);
}

#[test]
fn a_spent_budget_is_that_of_its_address_alone() {
    let limits = limits(3);
    let (guesser, neighbour) = (address("192.0.2.1"), address("192.0.2.2"));
    spend(&limits, guesser);
    assert_eq!(limits.refused(Some(guesser)).code(), Code::RateLimited);
    assert_eq!(limits.refused(Some(neighbour)).code(), Code::Unauthorized);
}

#[test]
fn one_guess_from_each_of_many_addresses_fills_no_memory() {
    let limits = limits(3);
    let many = u32::try_from(2 * MAX_REMEMBERED).unwrap();
    for number in 0..many {
        limits.refused(Some(Ipv4Addr::from_bits(0x0a00_0000 + number).into()));
    }
    let kept = limits.refused_keys.as_ref().unwrap().remembered();
    assert!(kept <= MAX_REMEMBERED, "{kept}");
}

#[test]
fn a_network_of_ipv6_is_one_address() {
    let limits = limits(1);
    spend(&limits, address("2001:db8:1:2::1"));
    assert_eq!(limits.refused(Some(address("2001:db8:1:2:ffff::9"))).code(), Code::RateLimited);
    assert_eq!(limits.refused(Some(address("2001:db8:1:3::1"))).code(), Code::Unauthorized);
}

#[test]
fn without_settings_nobody_is_bound() {
    let limits = Limits::new(Settings::default());
    for _ in 0..1_000 {
        assert_eq!(limits.refused(Some(address("192.0.2.1"))).code(), Code::Unauthorized);
    }
}

/// The smallest answer that is large.
const LARGE: usize = LARGE_ANSWER + 1;

#[test]
fn the_keys_of_an_organization_have_a_limit_together() {
    let limits = limits(3);
    let of_one = |id: u128| key(id, "one");
    let answers: Vec<_> = (0..40).map(|id| limits.answer(&of_one(id / 8), LARGE)).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 32);
    assert!(limits.answer(&key(100, "other"), LARGE).is_ok());
    let replays: Vec<_> = (0..80).map(|id| limits.replay(&of_one(id / 8), Uuid::from_u128(id / 8))).collect();
    assert_eq!(replays.iter().filter(|replay| replay.is_ok()).count(), 64);
    assert!(limits.replay(&key(100, "other"), Uuid::from_u128(100)).is_ok());
}

#[test]
fn large_answers_of_a_key_are_few_and_have_few_bytes_together() {
    let limits = limits(3);
    let (one, huge) = (key(1, "one"), 100 * 1024 * 1024);
    let first = limits.answer(&one, huge).unwrap();
    assert_eq!(limits.answer(&one, huge).unwrap_err().code(), Code::ShareUsedUp);
    assert!(limits.answer(&one, LARGE).unwrap().is_some());
    let small = limits.answer(&one, SMALL_ANSWER).unwrap();
    assert!(small.is_none(), "small ones are not counted");
    let others: Vec<_> = (0..200).map(|_| limits.answer(&one, LARGE_ANSWER)).collect();
    assert_eq!(
        others.iter().filter(|answer| answer.is_ok()).count(),
        4 * 32,
        "they have 32 MiB for themselves"
    );
    drop((first, others));
    assert!(limits.answer(&one, huge).is_ok());
}
