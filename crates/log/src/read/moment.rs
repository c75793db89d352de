//! The moment of an event, as it is stored. Somebody who can change the database may have put one there that is out of range, such as
//! `infinity`, and sqlx panics when it reads that.

use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Type};
use time::OffsetDateTime;

use super::copy;

/// The moment of an event is not one that the service writes.
#[derive(Debug, thiserror::Error)]
#[error("the moment of an event is out of range: `identityd doctor` names the event")]
struct OutOfRange;

/// A moment between the years 1 and 9999. Another one is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredMoment(pub OffsetDateTime);

impl Type<Postgres> for StoredMoment {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for StoredMoment {
    fn decode(value: PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        if value.format() == PgValueFormat::Binary {
            return Ok(Self(copy::moment(value.as_bytes()?).map_err(|_| OutOfRange)?));
        }
        OffsetDateTime::decode(value).map(Self)
    }
}

impl From<StoredMoment> for OffsetDateTime {
    fn from(StoredMoment(moment): StoredMoment) -> Self {
        moment
    }
}
