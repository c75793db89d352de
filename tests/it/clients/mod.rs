//! Published clients of every tested release: what they send, what they read, and which operations are served.

mod fields;
mod modes;
mod next;
mod python;
mod vault;
