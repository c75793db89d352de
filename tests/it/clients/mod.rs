//! Published clients of every release at one service: what they send, what they read, and what they find.

mod fields;
mod modes;
mod next;
mod python;
mod vault;
