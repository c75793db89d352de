//! The docs page in a real browser: it shows every operation, sends requests, and violates no security policy.

use serde_json::json;

use super::browser::Page;
use super::prefix;
use crate::harness::World;

/// Opens the page and waits until it is complete. `place` is the fragment of its address.
fn open(world: &World, place: &str) -> Option<Page> {
    open_at(&format!("{}/docs{place}", world.base_url()))
}

fn open_at(url: &str) -> Option<Page> {
    let mut page = Page::open()?;
    page.navigate(url);
    page.becomes("document.querySelector('.opblock') !== null");
    Some(page)
}

/// Opens an operation if it is closed.
fn unfold(page: &mut Page, operation: &str) {
    page.evaluate(&format!(
        "document.querySelector('[id$=\"-{operation}\"]:not(.is-open) .opblock-summary-control')?.click()"
    ));
    page.becomes(&format!("document.querySelector('[id$=\"-{operation}\"] .execute') !== null"));
}

/// Enters the key, once for all operations.
fn authorize(page: &mut Page, key: &str) {
    page.evaluate("document.querySelector('.auth-wrapper .authorize').click()");
    page.becomes("document.querySelector('.modal-ux input') !== null");
    write(page, ".modal-ux input", key);
    page.evaluate("document.querySelector('.modal-ux .authorize').click()");
    page.becomes("document.querySelector('.modal-ux .btn-done') !== null");
    page.evaluate("document.querySelector('.modal-ux .btn-done').click()");
}

/// Writes into a field like a user, so that the page notices.
fn write(page: &mut Page, field: &str, text: &str) {
    page.becomes(&format!("document.querySelector({field:?}) !== null"));
    page.evaluate(&format!(
        "var field = document.querySelector({field:?});
         var prototype = field.tagName === 'TEXTAREA' ? HTMLTextAreaElement : HTMLInputElement;
         Object.getOwnPropertyDescriptor(prototype.prototype, 'value').set.call(field, {text:?});
         ['input', 'change', 'focusout'].forEach(kind => field.dispatchEvent(new Event(kind, {{ bubbles: true }})))"
    ));
}

/// Sends the request of an operation, and returns the status of the answer.
fn send(page: &mut Page, operation: &str) -> String {
    page.evaluate(&format!("document.querySelector('[id$=\"-{operation}\"] .execute').click()"));
    let status = page.becomes(&format!(
        "document.querySelector('[id$=\"-{operation}\"] .live-responses-table tbody .response-col_status')?.firstChild?.textContent"
    ));
    status.as_str().unwrap().trim().to_owned()
}

/// The text of the answer of an operation, with its status and headers.
fn answer(page: &mut Page, operation: &str) -> String {
    let text = page
        .evaluate(&format!("document.querySelector('[id$=\"-{operation}\"] .responses-inner').textContent"));
    text.as_str().unwrap().to_owned()
}

fn must_be_clean(page: &mut Page) {
    assert_eq!(page.evaluate("violations"), json!([]));
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
}

#[test]
fn every_operation_of_the_document_is_shown() {
    let world = World::new();
    let Some(mut page) = open(&world, "") else { return };
    let shown = page.evaluate(
        "Array.from(document.querySelectorAll('.opblock'), shown => shown.id.replace(/^operations-.*?-/, '')
             .replace(/^(keys|numbers)-/, '')).sort()",
    );
    let documented = page.evaluate(
        "fetch('openapi.json').then(response => response.json()).then(api =>
            Object.values(api.paths).flatMap(Object.values).map(operation => operation.operationId).sort())",
    );
    assert!(shown.as_array().unwrap().len() > 40, "{shown}");
    assert_eq!(shown, documented);
    must_be_clean(&mut page);
}

#[test]
fn an_operation_is_tried_out_with_a_key_that_is_entered_once() {
    let world = World::new();
    let Some(mut page) = open(&world, "#/Identities/create_identity") else { return };
    authorize(&mut page, world.admin_key());
    unfold(&mut page, "create_identity");
    assert_eq!(send(&mut page, "create_identity"), "201", "the example is good as it stands");
    unfold(&mut page, "list_identities");
    assert_eq!(send(&mut page, "list_identities"), "200");
    let listed = answer(&mut page, "list_identities");
    assert!(listed.contains("\"agent_handle\": \"harbor-desk\""), "{listed}");
    assert!(listed.contains("curl -X 'GET'"), "{listed}");
    unfold(&mut page, "get_identity");
    write(&mut page, "[id$=\"-get_identity\"] [data-param-name=\"agent_handle\"] input", "nobody-here");
    assert_eq!(send(&mut page, "get_identity"), "404");
    let missing = answer(&mut page, "get_identity");
    assert!(missing.contains("\"code\": \"identity_not_found\""), "{missing}");
    assert_eq!(world.admin().handles(), ["harbor-desk"]);
    assert_eq!(page.evaluate("violations"), json!([]));
}

#[test]
fn behind_a_path_prefix_requests_go_below_the_prefix() {
    let world = World::new();
    let address = prefix::serve("/agents", world.base_url());
    let Some(mut page) = open_at(&format!("{address}/docs#/Identities/create_identity")) else { return };
    authorize(&mut page, world.admin_key());
    unfold(&mut page, "create_identity");
    assert_eq!(send(&mut page, "create_identity"), "201");
    let created = answer(&mut page, "create_identity");
    assert!(created.contains(&format!("{address}/api/v1/identities")), "{created}");
    assert_eq!(world.admin().handles(), ["harbor-desk"]);
    must_be_clean(&mut page);
}

#[test]
fn an_address_leads_to_an_operation_whose_media_type_can_be_chosen() {
    let world = World::new();
    let Some(mut page) = open(&world, "#/History/list_events") else { return };
    let choices = page.becomes(
        "Array.from(document.querySelectorAll('.opblock.is-open .response-control-media-type select option'),
            option => option.value).slice(0, 4).sort().join(' ')",
    );
    let all = "application/cloudevents-batch+json application/json application/x-ndjson text/event-stream";
    assert_eq!(choices, all);
    must_be_clean(&mut page);
}

#[test]
fn the_list_is_filtered() {
    let world = World::new();
    let Some(mut page) = open(&world, "") else { return };
    write(&mut page, ".operation-filter-input", "Vault");
    page.becomes("document.querySelectorAll('.opblock-tag').length === 1");
    must_be_clean(&mut page);
}

#[test]
fn on_a_phone_the_page_does_not_scroll_sideways() {
    let world = World::new();
    let Some(mut page) = open(&world, "#/Identities/create_identity") else { return };
    page.resize(390, 844);
    authorize(&mut page, world.admin_key());
    unfold(&mut page, "create_identity");
    assert_eq!(send(&mut page, "create_identity"), "201");
    unfold(&mut page, "list_events");
    assert_eq!(page.evaluate("[innerWidth, document.documentElement.scrollWidth]"), json!([390, 390]));
}

#[test]
fn what_is_not_ours_does_not_run() {
    let world = World::new();
    let Some(mut page) = open(&world, "") else { return };
    page.evaluate(
        "var script = document.createElement('script'); script.textContent = 'window.ran = true';
         document.body.append(script); fetch('http://127.0.0.2:9/').catch(() => null)",
    );
    page.becomes("violations.length === 2");
    assert_eq!(page.evaluate("violations.sort()"), json!(["connect-src", "script-src-elem"]));
    assert_eq!(page.evaluate("window.ran === undefined"), true);
}
