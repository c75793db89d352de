//! JSON that every reader understands in the same way: no object in it has a member twice, and no number is beyond
//! 2^53.
//!
//! If a member occurs twice, some readers take the first and some the last (RFC 8259, section 4), and RFC 8785 has no
//! canonical form for it. Beyond 2^53 some readers round a number (RFC 7493, section 2.2). An auditor must read what
//! was hashed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Formatter};

use identity_proof::canonical::check::{is_exact, is_exact_integer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How many values there are in a value, itself and the members of objects and lists. The values are checked, and not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unambiguous(pub(crate) u64);

/// The name of a member, borrowed if it has no escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Unambiguous;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unambiguous, A::Error> {
        let mut names: BTreeSet<Name<'de>> = BTreeSet::new();
        let mut count = 1;
        while let Some((name, Unambiguous(values))) = members.next_entry::<Name<'de>, Unambiguous>()? {
            count += values;
            if let Some(Name(twice)) = names.replace(name) {
                return Err(A::Error::custom(format_args!("duplicate field `{twice}`")));
            }
        }
        Ok(Unambiguous(count))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Unambiguous, A::Error> {
        let mut count = 1;
        while let Some(Unambiguous(values)) = elements.next_element()? {
            count += values;
        }
        Ok(Unambiguous(count))
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous(1))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous(1))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Unambiguous, E> {
        exact(is_exact_integer(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Unambiguous, E> {
        exact(is_exact_integer(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Unambiguous, E> {
        exact(is_exact(number))
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous(1))
    }
}

fn exact<E: Error>(is_exact: bool) -> Result<Unambiguous, E> {
    if is_exact { Ok(Unambiguous(1)) } else { Err(E::custom("a number is beyond 2^53")) }
}
