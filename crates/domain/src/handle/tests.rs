use super::{Handle, HandleError, RESERVED};

#[track_caller]
fn check(text: &str, expected: Result<&str, HandleError>) {
    let parsed = Handle::parse(text);
    assert_eq!(parsed.as_ref().map(Handle::as_str).map_err(|&error| error), expected, "{text:?}");
}

#[test]
fn a_handle_is_folded_and_loses_one_at_sign() {
    check("@Sales-Agent", Ok("sales-agent"));
    check("a1b", Ok("a1b"));
    check(&"a".repeat(63), Ok(&"a".repeat(63)));
}

#[test]
fn what_is_not_a_handle_is_refused_with_its_reason() {
    check("ab", Err(HandleError::TooShort));
    check("", Err(HandleError::TooShort));
    check(&"a".repeat(64), Err(HandleError::TooLong));
    for malformed in ["a--b", "-ab", "ab-", "a_b", "@@ab", " abc", "abc ", "äbc", "a.b", "ab\0", "ＡＢＣ"]
    {
        check(malformed, Err(HandleError::Malformed));
    }
}

#[test]
fn reserved_names_are_compared_without_hyphens() {
    for reserved in [
        "admin",
        "ad-min",
        "no-reply",
        "identityd",
        "post-master",
        "mta-sts",
        "autoconfig",
        "a2a",
        "well-known",
        "list-request",
        "smtp-tls",
        "acme-challenge",
    ] {
        assert!(Handle::parse(reserved).unwrap().is_reserved(), "{reserved}");
    }
    assert!(!Handle::parse("administrators-friend").unwrap().is_reserved());
}

#[test]
fn every_reserved_name_could_otherwise_be_a_handle() {
    for name in RESERVED.iter().copied().flatten() {
        check(name, Ok(name));
    }
}
