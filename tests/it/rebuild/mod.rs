//! Read models rebuilt, verified and rolled back while the service runs.

mod faults;
mod histories;
mod interruptions;
mod locks;
mod missing;
mod rollback;
mod second_reader;
mod seen;
mod states;
mod traffic;
mod upgrade;
mod words;
