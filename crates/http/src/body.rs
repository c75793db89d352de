//! The bytes of a body: how long the service waits for them, and how many it takes. Beyond that: 408, 413.

use std::error::Error;
use std::pin::pin;
use std::task::Poll;

use axum::body::{Body as HttpBody, HttpBody as _, to_bytes};
use axum::extract::{FromRequest, Request};
use http_body_util::LengthLimitError;
use tower_http::timeout::TimeoutError;

use crate::caller::Admission;
use crate::error::ApiError;

/// The largest body that is taken, in bytes.
const LARGEST_BODY: usize = 1024 * 1024;

/// The bytes of a body, at most 1 MiB. The extractor waits until they have arrived, then checks that the key is still
/// valid, and takes the share of a request.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let admission = parts.extensions.get::<Admission>();
        let bytes = arrived(body, admission).await?;
        if let Some(admission) = admission {
            admission.enter_with_body(bytes.len()).await?;
        }
        Ok(Self(bytes))
    }
}

/// Waits until the whole body has arrived. A body that came together with the head takes no share of bodies.
async fn arrived(body: HttpBody, admission: Option<&Admission>) -> Result<Vec<u8>, ApiError> {
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(ApiError::body_too_large());
    }
    let mut reading = pin!(to_bytes(body, LARGEST_BODY));
    let read = match futures::poll!(reading.as_mut()) {
        Poll::Ready(read) => read,
        Poll::Pending => {
            let _share = admission.map(Admission::await_body).transpose()?;
            reading.await
        }
    };
    read.map(Into::into).map_err(|error| unreadable(&error))
}

fn unreadable(error: &axum::Error) -> ApiError {
    if has_cause::<LengthLimitError>(error) {
        ApiError::body_too_large()
    } else if has_cause::<TimeoutError>(error) {
        ApiError::body_too_slow()
    } else {
        ApiError::body_unreadable()
    }
}

fn has_cause<E: Error + 'static>(error: &axum::Error) -> bool {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.into_iter().any(<dyn Error>::is::<E>)
}
