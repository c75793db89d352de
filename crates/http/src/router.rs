//! The route table.

use std::any::Any;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use tower_http::catch_panic::CatchPanicLayer;

use crate::caller::App;
use crate::error::ApiError;
use crate::routes::{
    access, api_keys, docs, events, health, identities, log, mailboxes, phone_numbers, tunnels, vault, whoami,
};
use crate::{context, idempotency};

/// Everything that is answered.
pub fn router(app: App) -> Router {
    routes()
        .layer(from_fn_with_state(app.clone(), idempotency::around))
        .fallback(async || ApiError::unknown_route())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer((from_fn_with_state(app.clone(), context::around), CatchPanicLayer::custom(panicked)))
        .with_state(app)
}

/// Every route there is. Paths are spelled out, since a nested router takes every request's URI apart.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .merge(identities())
        .merge(belongings())
        .merge(keys_and_secrets())
        .merge(history())
        .route("/api/whoami", get(whoami::whoami))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::page))
        .route("/docs/page.js", get(docs::script))
        .route("/docs/page.css", get(docs::style))
}

/// Identities and who may see them. The collection that published clients write with a slash at the end is answered
/// with and without it. Contract, section 0.2.
fn identities() -> Router<App> {
    let all = get(identities::list_identities).post(identities::create_identity);
    Router::new()
        .route("/api/v1/identities", all.clone())
        .route("/api/v1/identities/", all)
        .route(
            "/api/v1/identities/{agent_handle}",
            get(identities::get_identity)
                .patch(identities::update_identity)
                .delete(identities::delete_identity),
        )
        .route(
            "/api/v1/identities/{agent_handle}/access",
            get(access::list_access).post(access::grant_access),
        )
        .route("/api/v1/identities/{agent_handle}/access/{viewer_identity_id}", delete(access::revoke_access))
        .route(
            "/api/v1/identities/{agent_handle}/phone_number",
            delete(phone_numbers::release_phone_number_of_identity),
        )
}

/// What identities own: phone numbers, tunnels and mailboxes.
fn belongings() -> Router<App> {
    let tunnels = get(tunnels::list_tunnels);
    Router::new()
        .route(
            "/api/v1/phone/numbers",
            get(phone_numbers::list_phone_numbers).post(phone_numbers::provision_phone_number),
        )
        .route(
            "/api/v1/phone/numbers/{phone_number_id}",
            get(phone_numbers::get_phone_number)
                .patch(phone_numbers::update_phone_number)
                .delete(phone_numbers::release_phone_number),
        )
        .route("/api/v1/tunnels", tunnels.clone())
        .route("/api/v1/tunnels/", tunnels)
        .route("/api/v1/tunnels/{tunnel_id}", get(tunnels::get_tunnel).patch(tunnels::update_tunnel))
        .route("/api/v1/mail/mailboxes", get(mailboxes::list_mailboxes))
        .route(
            "/api/v1/mail/mailboxes/{email_address}",
            get(mailboxes::get_mailbox).patch(mailboxes::update_mailbox),
        )
}

/// API keys, and references to the secrets of a vault.
fn keys_and_secrets() -> Router<App> {
    Router::new()
        .route("/api/v1/api-keys", get(api_keys::list_api_keys).post(api_keys::create_api_key))
        .route("/api/v1/api-keys/self", get(api_keys::get_own_api_key))
        .route("/api/v1/api-keys/{api_key_id}", delete(api_keys::revoke_api_key))
        .route("/api/v1/vault/secrets", get(vault::list_secrets).post(vault::register_secret))
        .route("/api/v1/vault/secrets/{secret_id}", delete(vault::delete_secret))
        .route(
            "/api/v1/vault/secrets/{secret_id}/access",
            get(vault::list_access_rules).post(vault::grant_secret_access),
        )
        .route("/api/v1/vault/secrets/{secret_id}/access/{identity_id}", delete(vault::revoke_secret_access))
}

/// What happened, and the proof of it.
fn history() -> Router<App> {
    Router::new()
        .route("/api/v1/events", get(events::list_events))
        .route("/api/v1/identities/{agent_handle}/events", get(events::list_identity_events))
        .route("/api/v1/log/checkpoint", get(log::get_checkpoint))
        .route("/api/v1/log/key", get(log::get_verifier_key))
        .route("/api/v1/log/inclusion/{organization_sequence}", get(log::prove_inclusion))
        .route("/api/v1/log/consistency", get(log::prove_consistency))
}

/// A defect of ours. The message may hold anything, so it goes to the log and not to the client.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the payload over")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    ApiError::internal(format!("handler panicked: {}", message.unwrap_or("no message"))).into_response()
}
