//! The wire: routes, bodies, authentication, errors. Translation only.
//!
//! # Code map
//! - [`router()`]: the whole route table on one screen.
//! - [`caller`]: who asks. Handlers get at the log and the database only through it, so none can forget to ask; what it works
//!   with is in `caller/app`.
//! - [`readiness`]: whether requests are answered yet.
//! - [`api_key`]: the text of a key: made, taken apart, compared.
//! - [`cursor`]: places in history, as clients hold them.
//! - [`form`], `parameters`: reading bodies and queries; all faults of one are reported at once.
//! - [`error`]: every way a request can fail, and what the client is told; [`code`]: by which code; `problem`: in which
//!   form.
//! - [`client`]: where a request comes from; [`limits`]: how often somebody may ask.
//! - [`cache`]: keys and identities as they were read a moment ago, `cache/packed` how they are kept.
//! - `headers`: headers in more than one line; `accept`: in which form an answer is wanted.
//! - [`context`]: request ids, the log line of a request, the rendering of errors.
//! - `reply`: how a write is answered; `idempotency`: how it is answered again; `conditional`: entity tags.
//! - [`metrics`]: what is counted of requests.
//! - [`openapi`]: the OpenAPI document, from what the handlers say of themselves.
//! - `routes`: one file a resource.
//!
//! # Invariants, as absences
//! - No rule of the business stands here; a handler parses, asks, answers.
//! - No handler holds the database without a caller.
//! - No cookie is set and nothing is redirected: published clients follow redirects or not, depending on the language.
//!
//! # How to add an endpoint
//! Its handler in the file of its resource, taking [`caller::Caller`] or [`caller::Admin`] first, with what it says of
//! itself above it; its lines in [`router()`] and in [`openapi`]; its errors in [`error`] and [`code`].

mod accept;
pub mod api_key;
pub mod cache;
pub mod caller;
pub mod client;
pub mod code;
mod conditional;
pub mod context;
pub mod cursor;
pub mod error;
pub mod form;
mod headers;
mod idempotency;
pub mod limits;
pub mod metrics;
pub mod openapi;
mod parameters;
mod problem;
pub mod readiness;
mod reply;
mod router;
mod routes;

pub use caller::{App, AppSettings, Parts};
pub use readiness::{Preparation, Readiness};
pub use router::router;
