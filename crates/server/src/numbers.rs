//! Loading the number pool from a file of the operator.
//!
//! All or nothing: a file with one bad line loads no number, so that a corrected file can simply be loaded again. A
//! number that the pool already holds is a bad line too. Skipping it would hide that its state differs, or that the
//! wrong file was given.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use anyhow::{Context as _, bail, ensure};
use identity_terminal::input;
use sqlx::PgPool;

/// The longest line of a file, in bytes.
const MAX_LINE_BYTES: u64 = 4096;

/// A phone number and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolNumber {
    /// In E.164, such as `+12125550100`.
    pub number: String,
    /// Two capital letters, such as `NY`.
    pub state: String,
}

/// The numbers of one file, each with the number of its line. No number is there twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberFile {
    entries: Vec<(usize, PoolNumber)>,
}

impl NumberFile {
    /// Reads a file line by line: one number and one state a line, divided by white space; blank lines and what follows
    /// a `#` are left out.
    pub fn read(mut file: impl BufRead) -> anyhow::Result<Self> {
        let mut entries = Vec::new();
        let mut lines_by_number = HashMap::new();
        for line in 1.. {
            let context = || format!("line {line}");
            let Some(text) = input::read_line(&mut file, MAX_LINE_BYTES).with_context(context)? else {
                break;
            };
            let Some(entry) = parse_line(&text).with_context(context)? else { continue };
            if let Some(first) = lines_by_number.insert(entry.number.clone(), line) {
                bail!("line {line}: {} stands on line {first} already", entry.number);
            }
            entries.push((line, entry));
        }
        Ok(Self { entries })
    }

    /// Puts all of them into the pool and returns how many they are.
    pub async fn load(&self, pool: &PgPool) -> anyhow::Result<usize> {
        let mut transaction = pool.begin().await?;
        let numbers: Vec<_> = self.entries.iter().map(|(_, number)| number.clone()).collect();
        let inserted: HashSet<String> = insert_new(&mut transaction, &numbers).await?.into_iter().collect();
        if let Some((line, known)) = self.entries.iter().find(|(_, entry)| !inserted.contains(&entry.number))
        {
            bail!("line {line}: {} is in the pool already; nothing was loaded", known.number);
        }
        transaction.commit().await.context("cannot store the numbers")?;
        Ok(numbers.len())
    }
}

/// Puts numbers into the pool, skips those that the pool has, and returns the new ones.
pub(crate) async fn insert_new(
    connection: &mut sqlx::PgConnection,
    entries: &[PoolNumber],
) -> anyhow::Result<Vec<String>> {
    let numbers: Vec<&str> = entries.iter().map(|entry| entry.number.as_str()).collect();
    let states: Vec<&str> = entries.iter().map(|entry| entry.state.as_str()).collect();
    let inserted = sqlx::query_scalar(
        "insert into phone_number_pool (number, state)
         select number, state from unnest($1::text[], $2::text[]) as given (number, state)
         on conflict (number) do nothing
         returning number",
    );
    inserted.bind(numbers).bind(states).fetch_all(connection).await.context("cannot store the numbers")
}

fn parse_line(line: &str) -> anyhow::Result<Option<PoolNumber>> {
    let content = line.split('#').next().unwrap_or_default();
    let words: Vec<&str> = content.split_whitespace().collect();
    match words.as_slice() {
        [] => Ok(None),
        [number, state] => {
            ensure!(is_e164(number), "{number:?} is no E.164 number such as +12125550100");
            ensure!(is_state(state), "{state:?} is no state of two capital letters such as NY");
            Ok(Some(PoolNumber { number: (*number).to_owned(), state: (*state).to_owned() }))
        }
        _ => bail!("expected a number and a state such as `+12125550100 NY`, found {:?}", content.trim()),
    }
}

fn is_e164(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else { return false };
    (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_state(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests;
