//! The HTTP API: routes, bodies, authentication, errors. It translates, and has no rules of its own.
//!
//! # Code map
//! - [`router()`]: the whole route table, one line for each operation.
//! - [`caller`]: who makes a request. Handlers reach the log and the database only through it, so none can forget to
//!   check the key. `caller/app`: the state that all requests share.
//! - [`readiness`]: whether requests are answered yet.
//! - [`api_key`]: keys and their secrets: made, taken apart, compared; `clock`: the time by which keys expire;
//!   `key_uses`: when keys were last used.
//! - [`cursor`]: places in history and in lists, as clients get them.
//! - `body`: the bytes of a body, and their limit; [`form`], `parameters`: reading bodies and queries; all faults of one are
//!   reported at once. `form/reader`: readers of single values, which know their schemas.
//! - [`error`]: every way a request can fail, and what the client is told; [`code`]: the codes; `problem`: the two
//!   forms of an error.
//! - [`client`]: the address of the client; [`limits`]: how much a key, an organization or an address may use;
//!   `followers`: what live streams of history share; `database`: the connections that one key uses.
//! - [`cache`]: keys and identities in memory; `cache/packed`: their compression; `found`: an identity with the digest of its body.
//! - `headers`: headers in more than one line, and those that handlers read; `accept`: the media types that a client
//!   accepts, and whether it accepts gzip.
//! - [`around`]: the log line of every request, and the rendering of its error; [`context`]: the id, client, key and
//!   shares of a request.
//! - `reply`: the answer to a write; `idempotency`: the answer to its repetitions; `revision`: entity tags;
//!   `precondition`: writes to a version that the client names; `conditional`: reads that are answered with 304.
//! - [`metrics`]: the metrics of requests.
//! - [`openapi`]: the OpenAPI document, from the attributes of the handlers and from their signatures
//!   (`openapi/about`).
//! - `routes`: the handlers, one file for each resource.
//!
//! # Invariants, as absences
//! - No rule of the business is here: a handler parses a request, sends a command or a query, and answers.
//! - No handler reaches the database without a caller, except the readiness probe.
//! - No cookie is set and nothing is redirected: published clients follow redirects or not, depending on the language.
//!
//! # How to add an operation
//! Its handler in the file of its resource, taking [`caller::Caller`], [`caller::Admin`] or another key first, with
//! `#[utoipa::path]` above it; its line in `router.rs`; a new error in [`error`] and [`code`]. `CONTRIBUTING.md` walks through
//! one.

mod accept;
pub mod api_key;
pub mod around;
mod body;
pub mod cache;
pub mod caller;
pub mod client;
mod clock;
pub mod code;
mod conditional;
pub mod context;
pub mod cursor;
mod database;
pub mod error;
pub mod fault;
mod followers;
pub mod form;
mod found;
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

pub use accept::accepts_gzip;
pub use caller::{App, AppSettings, Parts};
pub use key_uses::KeyUses;
pub use readiness::{NeededRight, Preparation, Readiness};
pub use router::{document, router};
