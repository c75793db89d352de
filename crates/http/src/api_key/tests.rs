use super::{Presented, Secret, base62, checksum, parse_public_id, public_id};
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(7);

#[test]
fn a_key_that_was_made_is_recognized() {
    let secret = Secret::generate().unwrap();
    let presented = Presented::parse(&secret.key_text(ID)).unwrap();
    assert_eq!(presented.id, ID);
    let kept: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&secret.sha256()[at * 2..at * 2 + 2], 16).unwrap()).collect();
    assert!(presented.matches(&kept));
    assert!(!presented.matches(&[0; 32]));
    assert!(!presented.matches(&[]));
    assert!(secret.key_text(ID).ends_with(&secret.last4()));
}

#[test]
fn every_single_change_of_the_secret_is_noticed_without_a_query() {
    let key = Secret::generate().unwrap().key_text(ID);
    let secret_starts = key.find('.').unwrap() + 1;
    for at in secret_starts..key.len() {
        let mut changed: Vec<char> = key.chars().collect();
        changed[at] = if changed[at] == 'a' { 'b' } else { 'a' };
        assert!(Presented::parse(&changed.into_iter().collect::<String>()).is_none(), "character {at}");
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let key = Secret::generate().unwrap().key_text(ID);
    let no_uuid = key.replacen(&ID.to_string(), "x", 1);
    for text in [
        "",
        ".",
        "ApiKey_",
        "ApiKey_.x",
        &key[1..],
        &key[..key.len() - 1],
        &format!("{key}0"),
        &no_uuid,
        "ä.ö",
    ] {
        assert!(Presented::parse(text).is_none(), "{text}");
    }
}

#[test]
fn base_62_pads_and_counts() {
    assert_eq!(base62(&[0], 3), "000");
    assert_eq!(base62(&[61], 3), "00z");
    assert_eq!(base62(&[62], 3), "010");
    assert_eq!(base62(&[0xff; 32], 43).len(), 43);
    assert_eq!(checksum("x").len(), 6);
}

#[test]
fn a_public_id_reads_back() {
    assert_eq!(parse_public_id(&public_id(ID)), Some(ID));
    assert_eq!(parse_public_id(&ID.to_string()), None);
}

#[test]
fn a_secret_does_not_print() {
    assert_eq!(format!("{:?}", Secret::generate().unwrap()), "Secret");
}
