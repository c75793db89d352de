//! The context of a request while it is being answered: its id, its client, its key, and its shares.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method};
use identity_log::{Fate, ids};
use identity_projections::api_keys::Row as KeyRow;

use crate::api_key::public_id;
use crate::client::ClientAddress;
use crate::database::TurnSlot;
use crate::error::ApiError;
use crate::headers::IDEMPOTENCY_KEY;
use crate::limits::{AnswerShare, RequestShare, Standing};

/// The header of the id of a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The context of a request while it is being answered.
#[derive(Debug, Clone)]
pub struct Context {
    /// The client's `X-Request-Id` if it is valid, else a new one.
    pub request_id: Arc<str>,
    /// When the request arrived. Its answer takes everything into account that was committed before.
    pub(crate) arrived: Instant,
    /// The address of the client, if the server has put it among the extensions.
    pub(crate) client: Option<IpAddr>,
    /// What remains of the quotas that the request counts against, if there are any.
    pub(crate) standing: Arc<OnceLock<Standing>>,
    /// Whether the command of this request is waiting, abandoned, or sent to Postgres.
    pub(crate) fate: Fate,
    /// Whether the request is carried out only once its body has arrived.
    pub(crate) awaits_body: bool,
    /// The size of its body, once it has arrived.
    pub(crate) body_bytes: Arc<AtomicU64>,
    /// Its share of the requests that are being answered.
    pub(crate) share: Slot<RequestShare>,
    /// The share of its answer, if it is known before a write that the answer will be large.
    pub(crate) answer: Slot<AnswerShare>,
    /// Its turn on the database.
    pub(crate) turn: TurnSlot,
    /// The key of the request, once it is known to be valid.
    pub(crate) holder: Arc<OnceLock<Holder>>,
}

/// Something that a request takes while it is being answered, once it has it. It is given back when the answer begins, even if the
/// slot still exists.
#[derive(Debug)]
pub(crate) struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Slot<T> {
    /// Fills the slot unless it is full.
    pub(crate) fn fill(&self, take: impl FnOnce() -> Result<T, ApiError>) -> Result<(), ApiError> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(take()?);
        }
        Ok(())
    }

    /// Empties the slot.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The key of a request.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) key: Arc<KeyRow>,
    /// Its id, for the log line.
    pub(crate) key_id: String,
}

impl Context {
    /// The context of a request that has just arrived.
    pub(crate) fn new(request: &Request) -> Self {
        let client = request.extensions().get().map(|ClientAddress(address)| *address);
        let request_id = request_id(request.headers());
        Self {
            request_id,
            arrived: Instant::now(),
            client,
            standing: Arc::default(),
            fate: Fate::default(),
            awaits_body: has_body(request),
            body_bytes: Arc::default(),
            share: Slot::default(),
            answer: Slot::default(),
            turn: TurnSlot::default(),
            holder: Arc::default(),
        }
    }

    /// Notes the key of the request. Only the first call counts: a request has one key.
    pub(crate) fn identify(&self, key: &Arc<KeyRow>) {
        self.holder.get_or_init(|| Holder { key: Arc::clone(key), key_id: public_id(key.id) });
    }
}

/// Whether a body is still to be read. The body of other methods has no meaning; that of a DELETE is read for the fingerprint of
/// its `Idempotency-Key`.
fn has_body(request: &Request) -> bool {
    let may_have_body = match *request.method() {
        Method::POST | Method::PUT | Method::PATCH => true,
        Method::DELETE => request.headers().contains_key(IDEMPOTENCY_KEY),
        _ => false,
    };
    may_have_body && !request.body().is_end_stream()
}

/// The request id. A client's own id must be 1 to 128 visible ASCII characters, since it goes into the log and into
/// history.
pub(crate) fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane =
        given.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
    sane.map_or_else(|| ids::mint().to_string().into(), Into::into)
}
