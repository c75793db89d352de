//! Deliveries of webhooks, and sending them again. Contract, section 10.7. An agent sees deliveries of its identity's
//! subscriptions only.

use std::collections::VecDeque;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use identity_log::recorded::timestamp;
use identity_webhooks::deliveries::listing::{self, Entry, Filter, Listed};
use identity_webhooks::deliveries::{self, Repeatable, ReplayError};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::interruption::Interruption;
use super::pieces::{self, Entries, PIECE_BYTES};
use crate::caller::outside_log::Charge;
use crate::caller::{Caller, Segments, uuid_segment};
use crate::code::Code;
use crate::conditional::unless_same_entries;
use crate::error::ApiError;
use crate::fault::Complaint;
use crate::form::reader::Reader;
use crate::headers::IfNoneMatch;
use crate::parameters::{Parameters, Query, ReadQuery, flag, id, text};
use crate::reply::Answer;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// The largest offset. Postgres reads and discards as many rows.
const MAX_OFFSET: u32 = 100_000;

/// One attempt to send an event to a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookDelivery {
    /// Its id. The receiver gets it as `X-Inkbox-Request-ID`.
    id: Uuid,
    /// Its organization.
    organization_id: String,
    /// The subscription, which may be deleted since.
    webhook_subscription_id: Uuid,
    /// Always null: this service sends nothing about calls.
    #[schema(required)]
    phone_number_id: Option<Uuid>,
    /// The event, the same in every attempt and to every subscription.
    event_id: String,
    /// Its type.
    event_type: String,
    /// Where it was sent.
    url: String,
    /// What was sent.
    request_payload: String,
    /// The status of the answer; null if there was none.
    #[schema(required)]
    response_status: Option<i16>,
    /// The beginning of the answer.
    #[schema(required)]
    response_body: Option<String>,
    /// Why there was no answer, or no complete one in time.
    #[schema(required)]
    error_detail: Option<String>,
    /// How long it took.
    duration_ms: i32,
    /// Whether somebody asked for the event to be sent again.
    is_replay: bool,
    /// When the attempt began.
    #[schema(format = DateTime)]
    created_at: String,
    /// Whether it can be sent again.
    replayable: bool,
    /// Why not.
    #[schema(required)]
    replay_unavailable_reason: Option<&'static str>,
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookDeliveries {
    /// The deliveries, newest first.
    deliveries: Vec<WebhookDelivery>,
}

impl WebhookDelivery {
    fn of(Listed { delivery, is_replayable }: Listed) -> Self {
        Self {
            id: delivery.id,
            organization_id: delivery.organization_id,
            webhook_subscription_id: delivery.endpoint_id,
            phone_number_id: None,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            url: delivery.url,
            request_payload: delivery.payload,
            response_status: delivery.response_status,
            response_body: delivery.response_body,
            error_detail: delivery.error_detail,
            duration_ms: delivery.duration_ms,
            is_replay: delivery.is_replay,
            created_at: timestamp(delivery.created_at),
            replayable: is_replayable,
            replay_unavailable_reason: (!is_replayable).then_some("subscription_gone"),
        }
    }
}

/// List deliveries of webhooks
///
/// Newest first. Each attempt is a delivery of its own.
#[utoipa::path(get, path = "/api/v1/webhooks/deliveries", tag = "Webhooks",
    responses((status = 200, description = "The deliveries", body = WebhookDeliveries)))]
pub(crate) async fn list_webhook_deliveries(
    caller: Caller,
    query: Query<Filter>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let filter = query.read()?;
    let (pool, organization_id) = (caller.pool().await, caller.organization_id());
    let entries = listing::page(pool, organization_id, &caller.viewer(), &filter).await?;
    // A delivery is not an event, so the history does not tell whether the list has changed.
    let shown: Vec<u8> = entries.iter().flat_map(bytes_of).collect();
    unless_same_entries(&headers, &shown, async || {
        let page = Page { pool: pool.clone(), entries: entries.into() };
        pieces::list(page, r#"{"deliveries":["#.to_owned(), "]}", &caller).await
    })
    .await
}

/// What is shown of a delivery that can change.
fn bytes_of(entry: &Entry) -> impl Iterator<Item = u8> + use<> {
    entry.id.into_bytes().into_iter().chain([entry.is_replayable.into()])
}

/// A page of deliveries, while it is read.
struct Page {
    pool: PgPool,
    /// Those that are still to be read.
    entries: VecDeque<Entry>,
}

impl Page {
    /// The deliveries of the next piece, at least one.
    fn some(&mut self) -> Vec<Entry> {
        let (mut some, mut bytes) = (vec![], 0);
        while let Some(entry) = self.entries.pop_front() {
            bytes += usize::try_from(entry.bytes).unwrap_or(PIECE_BYTES);
            if bytes > PIECE_BYTES && !some.is_empty() {
                self.entries.push_front(entry);
                break;
            }
            some.push(entry);
        }
        some
    }
}

impl Entries for Page {
    /// A page has few deliveries, so only their bytes are limited.
    async fn next(&mut self, _: u32) -> Result<(Vec<String>, bool), Interruption> {
        let some = self.some();
        let listed = listing::read(&self.pool, &some).await?;
        let text = |listed| serde_json::to_string(&WebhookDelivery::of(listed));
        Ok((listed.into_iter().map(text).collect::<Result<_, _>>()?, self.entries.is_empty()))
    }
}

/// The parameters of the list.
impl ReadQuery for Filter {
    fn read(parameters: &mut Parameters) -> Self {
        let mut id = |name, about| parameters.one(name, about, id());
        let subscription_id = id("subscription_id", "Only those to this subscription");
        let phone_number_id = id("phone_number_id", "Only those of this phone number");
        let event_type = parameters.one("event_type", "Only those of this type", text());
        let about = "`true`: only those that were answered with 2xx; `false`: only the others";
        let success = parameters.one("success", about, flag());
        let about = "How many; 50 if absent";
        let limit = parameters.one("limit", about, number(1, MAX_LIMIT)).unwrap_or(DEFAULT_LIMIT);
        let offset = parameters.one("offset", "How many of the newest are left out", number(0, MAX_OFFSET));
        let (limit, offset) = (limit.into(), offset.unwrap_or_default().into());
        Self { subscription_id, phone_number_id, event_type, success, limit, offset }
    }
}

fn number(least: u32, most: u32) -> impl Reader<str, u32> {
    let read = move |text: &str| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        let message = format!("Input should be a whole number from {least} to {most}");
        number.ok_or_else(|| Complaint::new("value_error", message))
    };
    (read, move || json!({ "type": "integer", "minimum": least, "maximum": most }))
}

/// Send a delivery again
///
/// Sends the same event once, at once, to the present address of its subscription, signed anew. Answers with the new
/// delivery when the receiver has answered, or after 10 s without an answer. The delivery tells the result.
#[utoipa::path(post, path = "/api/v1/webhooks/deliveries/{delivery_id}/replay", tag = "Webhooks",
    responses((status = 200, description = "The new delivery", body = WebhookDelivery)),
    extensions(("x-errors" = json!([Code::WebhookDeliveryNotFound, Code::WebhookSubscriptionGone]))))]
pub(crate) async fn replay_webhook_delivery(
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let id = uuid_segment("delivery_id", &id)?;
    let bytes = find(&caller, id).await?.map_or(0, |found| found.payload_bytes());
    // As a text in JSON the payload is at most twice as long.
    caller.admission().expect_answer(2 * bytes)?;
    let charge = caller.begin_irrevocably(bytes).await?;
    // Access, address and token may have changed while the budget was waited for.
    let repeatable = find(&caller, id).await?.ok_or_else(ApiError::webhook_delivery_not_found)?;
    caller.refuse_reused_key()?;
    let share = caller.replay(repeatable.subscription_id())?;
    let done = caller.carry_through(|caller| async move {
        let _share = share;
        send_again(&caller, &repeatable, charge).await
    });
    Ok(done.await?.into_response())
}

/// Sends a delivery, and stores the new delivery and the answer.
async fn send_again(
    caller: &Caller,
    repeatable: &Repeatable,
    mut charge: Charge,
) -> Result<Answer, ApiError> {
    caller.note_begun().await?;
    let delivery = match caller.webhooks().replay(repeatable).await {
        Ok(delivery) => delivery,
        // The receiver has it already.
        Err(ReplayError::Database(error)) => return Err(ApiError::outcome_unknown(&error)),
        Err(refused) => {
            caller.forget_begun().await?;
            return Err(refused.into());
        }
    };
    let body = WebhookDelivery::of(Listed { delivery, is_replayable: true });
    let done = Answer::json(StatusCode::OK, &body)?;
    charge.wrote(done.body().len());
    if keep(caller, &done).await.map_err(if_failed)? {
        charge.wrote(done.body().len());
    }
    Ok(done)
}

/// Stores the answer for repetitions. Returns whether the request has an `Idempotency-Key`.
async fn keep(caller: &Caller, done: &Answer) -> Result<bool, ApiError> {
    let mut write = caller.transaction_outside_log().await?;
    let is_kept = write.keep_answer(done).await?;
    write.commit().await?;
    Ok(is_kept)
}

/// A failure of the database leaves open what became of a delivery that was sent.
fn if_failed(error: ApiError) -> ApiError {
    if error.status().is_server_error() { ApiError::outcome_unknown(&error) } else { error }
}

async fn find(caller: &Caller, id: Uuid) -> Result<Option<Repeatable>, ApiError> {
    Ok(deliveries::find(caller.pool().await, caller.organization_id(), &caller.viewer(), id).await?)
}
