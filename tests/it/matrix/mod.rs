//! Rules for every operation and every caller. The operations are read from the served document, so a new route is
//! tested without a line of its own.
//!
//! - [`walk`]: the operations, and a valid request for each of them.
//! - [`estate`]: an organization in which everything exists that a request can name, with one caller of each kind.
//! - [`authorization`]: who may do what, what all others are answered, and that a refused write leaves nothing.
//! - [`answers`]: no answer to a write is read from history.
//! - [`caching`]: no answer is given to another key, and a strong tag stands for certain bytes.
//! - [`lists`]: a list takes the memory of one piece.
//! - [`plans`]: no statement reads rows of all organizations.
//! - [`revocation`]: a key that ends while its request is being answered.
//! - [`shares`]: what a hostile key can take from others.
//! - [`silence`]: no request opens a connection to a database that is known to be silent.
//! - [`sizes`]: how much of an answer is in memory at a time.
//! - [`twice`]: a write with an `Idempotency-Key` that two processes are sent.
//! - [`versions`]: the tag of a resource is its version, which its writes compare.

mod answers;
mod authorization;
mod caching;
mod estate;
mod lists;
mod plans;
mod revocation;
mod shares;
mod silence;
mod sizes;
mod twice;
mod versions;
mod walk;
