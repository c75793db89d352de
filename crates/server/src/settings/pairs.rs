//! Settings that are set together.

use anyhow::bail;

/// Two settings, each with its name, that are set together or not at all.
pub(super) fn both<A, B>(
    (name, one): (&str, Option<A>),
    (other_name, other): (&str, Option<B>),
) -> anyhow::Result<Option<(A, B)>> {
    match (one, other) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        (Some(_), None) => bail!("{name} is set and {other_name} is not"),
        (None, Some(_)) => bail!("{other_name} is set and {name} is not"),
    }
}
