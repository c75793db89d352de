//! Laws that hold for every operation and every caller. The operations come from the document that the service answers with, so
//! a new route is under all laws without a line of test.
//!
//! - [`walk`]: the operations, and a valid request for each of them.
//! - [`estate`]: an organization in which everything exists that a request can name, and everybody who may call.
//! - [`authorization`]: who is let in, what the others are told, and that a refused write leaves nothing.
//! - [`caching`]: whose answer is whose, and that a tag names the bytes.
//! - [`revocation`]: a key that ends while its request is under way.
//! - [`shares`]: what a hostile key costs others.

mod authorization;
mod caching;
mod estate;
mod revocation;
mod shares;
mod walk;
