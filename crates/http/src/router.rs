//! The route table: every handler there is. The path and the method of each are in the attribute above it.

use std::any::Any;
use std::sync::LazyLock;

use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::routes;

use crate::caller::App;
use crate::error::ApiError;
use crate::openapi::about::{About, Document};
use crate::openapi::written::Written;
use crate::openapi::{self, DescribedOperation, TWINS};
use crate::routes::{
    access, api_keys, directory, docs, events, health, identities, imessage, incoming_calls, log,
    log_endpoints, mailboxes, phone_numbers, signing_keys, tunnels, vault, webhook_deliveries, webhooks,
    whoami,
};
use crate::{around, idempotency};

/// Each handler, with what its signature and its attribute say of it.
macro_rules! operations {
    ($($handler:path,)*) => {
        vec![$((About::of(&$handler), routes!($handler))),*]
    };
}

/// Everything that is in the OpenAPI document.
fn operations() -> Vec<DescribedOperation> {
    of_identities().into_iter().chain(of_organizations()).chain(of_the_service()).collect()
}

/// Identities and what belongs to them.
fn of_identities() -> Vec<DescribedOperation> {
    operations![
        identities::list_identities,
        identities::create_identity,
        identities::get_identity,
        identities::update_identity,
        identities::delete_identity,
        access::list_access,
        access::grant_access,
        access::revoke_access,
        phone_numbers::list_phone_numbers,
        phone_numbers::provision_phone_number,
        phone_numbers::get_phone_number,
        phone_numbers::update_phone_number,
        phone_numbers::release_phone_number,
        phone_numbers::release_phone_number_of_identity,
        incoming_calls::get_incoming_call_action,
        incoming_calls::set_incoming_call_action,
        tunnels::list_tunnels,
        tunnels::get_tunnel,
        tunnels::update_tunnel,
        mailboxes::list_mailboxes,
        mailboxes::get_mailbox,
        mailboxes::update_mailbox,
        directory::list_directory,
        directory::get_card,
        imessage::list_imessage_numbers,
        imessage::claim_imessage_number,
        signing_keys::get_signing_key,
        signing_keys::create_signing_key,
        signing_keys::get_any_signing_key,
        signing_keys::create_own_signing_key,
    ]
}

/// Keys, the vault and the history of an organization.
fn of_organizations() -> Vec<DescribedOperation> {
    operations![
        api_keys::list_api_keys,
        api_keys::create_api_key,
        api_keys::get_own_api_key,
        api_keys::rotate_api_key,
        api_keys::revoke_api_key,
        vault::keys::get_vault,
        vault::keys::initialize_vault,
        vault::keys::unlock_vault,
        vault::keys::list_vault_keys,
        vault::keys::replace_primary_key,
        vault::keys::delete_vault_key,
        vault::list_secrets,
        vault::register_secret,
        vault::get_secret,
        vault::update_secret,
        vault::delete_secret,
        vault::list_access_rules,
        vault::grant_secret_access,
        vault::revoke_secret_access,
        webhooks::get_webhook_catalog,
        webhooks::list_webhook_subscriptions,
        webhooks::create_webhook_subscription,
        webhooks::get_webhook_subscription,
        webhooks::update_webhook_subscription,
        webhooks::delete_webhook_subscription,
        webhook_deliveries::list_webhook_deliveries,
        webhook_deliveries::replay_webhook_delivery,
        log_endpoints::list_log_endpoints,
        log_endpoints::create_log_endpoint,
        log_endpoints::delete_log_endpoint,
        log_endpoints::replay_log_endpoint,
        events::list_events,
        events::list_identity_events,
        log::get_checkpoint,
        log::get_verifier_key,
        log::prove_inclusion,
        log::prove_consistency,
        whoami::whoami,
    ]
}

/// The documentation of the service.
fn of_the_service() -> Vec<DescribedOperation> {
    operations![health::healthz, health::readyz, docs::openapi, docs::page,]
}

/// The OpenAPI document as compact JSON.
pub fn document() -> &'static str {
    &written().plain.bytes
}

fn written() -> &'static Written {
    static WRITTEN: LazyLock<Written> = LazyLock::new(|| Written::of(openapi::written(operations())));
    &WRITTEN
}

/// The operations at their paths, and at the second spelling where a path has two.
fn served(operations: Vec<DescribedOperation>) -> Router<App> {
    operations.into_iter().fold(Router::new(), |router, (_, (_, paths, methods))| {
        let paths = paths.paths.into_keys();
        let twins = |path: &String| TWINS.contains(&path.as_str()).then(|| format!("{path}/"));
        let spellings = paths.flat_map(|path| [twins(&path), Some(path)].into_iter().flatten());
        spellings.fold(router, |router, path| router.route(&path, methods.clone()))
    })
}

/// Everything that is answered: 404 for other paths, and 405 for other methods of a path.
pub fn router(app: App) -> Router {
    let of_the_service = served(of_the_service()).route("/docs/{file}", get(docs::asset));
    served(of_identities())
        .merge(served(of_organizations()))
        .merge(of_the_service.layer(Extension(Document(written))))
        .layer(from_fn_with_state(app.clone(), idempotency::replay::around))
        .fallback(async |uri: Uri| ApiError::unserved(uri.path()))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer((from_fn_with_state(app.clone(), around::every_request), CatchPanicLayer::custom(panicked)))
        .with_state(app)
}

/// Answers a panic of a handler. Its message may contain anything, so it goes to the log and not to the client.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the payload over")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    ApiError::internal(format!("handler panicked: {}", message.unwrap_or("no message"))).into_response()
}
