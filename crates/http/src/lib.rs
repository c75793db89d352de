//! The wire: routes, bodies, authentication, errors. Translation only.
//!
//! # Code map
//! - [`router()`]: the whole route table on one screen.
//! - [`caller`]: who asks. Handlers get at the log and the database only through it, so none can forget to ask; what it works
//!   with is in `caller/app`.
//! - [`readiness`]: whether requests are answered yet.
//! - [`api_key`]: the text of a key: made, taken apart, compared; `clock`: the time by which keys expire;
//!   `key_uses`: when keys were last used.
//! - [`cursor`]: places in history, as clients hold them.
//! - [`form`], `parameters`: reading bodies and queries; all faults of one are reported at once. `form/reader`: readers of
//!   single values, which know their schemas.
//! - [`error`]: every way a request can fail, and what the client is told; [`code`]: by which code; `problem`: in which
//!   form.
//! - [`client`]: where a request comes from; [`limits`]: what somebody may cost; `followers`: what followers of history share.
//! - [`cache`]: keys and identities as they were read a moment ago, `cache/packed` how they are kept.
//! - `headers`: headers in more than one line, and those that mean something to a handler; `accept`: in which form an
//!   answer is wanted.
//! - [`around`]: the log line of every request, and the rendering of its error; [`context`]: what is known of a request meanwhile.
//! - `reply`: how a write is answered; `idempotency`: how it is answered again; `revision`: entity tags; `precondition`:
//!   writes to a version that the client names; `conditional`: reads that are answered with 304.
//! - [`metrics`]: what is counted of requests.
//! - [`openapi`]: the OpenAPI document, from what is said above the handlers, and from their signatures (`openapi/about`).
//! - `routes`: one file a resource.
//!
//! # Invariants, as absences
//! - No rule of the business stands here; a handler parses, asks, answers.
//! - No handler holds the database without a caller.
//! - No cookie is set and nothing is redirected: published clients follow redirects or not, depending on the language.
//!
//! # How to add an endpoint
//! Its handler in the file of its resource, taking [`caller::Caller`], [`caller::Admin`] or another key first, with
//! `#[utoipa::path]` above it; its line in `router.rs`; a new error in [`error`] and [`code`]. `CONTRIBUTING.md` walks through
//! one.

mod accept;
pub mod api_key;
pub mod around;
pub mod cache;
pub mod caller;
pub mod client;
mod clock;
pub mod code;
mod conditional;
pub mod context;
pub mod cursor;
pub mod error;
pub mod fault;
mod followers;
pub mod form;
mod headers;
mod html;
mod idempotency;
mod key_uses;
pub mod limits;
pub mod metrics;
mod notices;
pub mod openapi;
mod parameters;
mod precondition;
mod problem;
pub mod readiness;
mod reply;
mod revision;
mod router;
mod routes;
mod unconfirmed;
mod unserved;

pub use caller::{App, AppSettings, Parts};
pub use key_uses::KeyUses;
pub use readiness::{Preparation, Readiness};
pub use router::{document, router};
