//! The page in a real browser: everything is shown, an operation can be tried out, and nothing is blocked.

use serde_json::json;

use super::browser::Page;
use crate::harness::World;

/// The page, complete.
fn open(world: &World) -> Option<Page> {
    let mut page = Page::open()?;
    page.navigate(&format!("{}/docs", world.base_url()));
    page.becomes("document.querySelector('main[aria-busy=false]') !== null");
    Some(page)
}

#[test]
fn every_operation_of_the_document_is_shown() {
    let world = World::new();
    let Some(mut page) = open(&world) else { return };
    let shown =
        page.evaluate("Array.from(document.querySelectorAll('details.operation'), shown => shown.id).sort()");
    let documented = page.evaluate(
        "fetch('/openapi.json').then(response => response.json()).then(api =>
            Object.values(api.paths).flatMap(Object.values).map(operation => operation.operationId).sort())",
    );
    assert!(shown.as_array().unwrap().len() > 40, "{shown}");
    assert_eq!(shown, documented);
    assert_eq!(page.evaluate("violations"), json!([]));
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
}

#[test]
fn an_operation_is_tried_out_with_a_pasted_key() {
    let world = World::new();
    let Some(mut page) = open(&world) else { return };
    page.evaluate(&format!("document.getElementById('key').value = {:?}", world.admin_key()));
    let mut send = |operation: &str, fill: &str| {
        page.evaluate(&format!(
            "var form = document.querySelector('#{operation} form'); document.getElementById('{operation}').open = true;
             {fill}; form.querySelector('button').click()"
        ));
        page.becomes(&format!("document.querySelector('#{operation} pre.answer').dataset.status"))
    };
    assert_eq!(send("create_identity", ""), "201", "the example is good as it stands");
    assert_eq!(send("get_identity", "form.elements['agent_handle'].value = 'harbor-desk'"), "200");
    assert_eq!(send("list_identities", "form.elements['limit'].value = '1'"), "200");
    let answer = page.evaluate("document.querySelector('#list_identities pre.answer').textContent");
    assert!(answer.as_str().unwrap().contains("\"agent_handle\": \"harbor-desk\""), "{answer}");
    assert_eq!(page.evaluate("violations"), json!([]));
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
    assert_eq!(world.admin().handles(), ["harbor-desk"]);
}

#[test]
fn what_is_not_ours_does_not_run() {
    let world = World::new();
    let Some(mut page) = open(&world) else { return };
    page.evaluate(
        "var script = document.createElement('script'); script.textContent = 'window.ran = true';
         document.body.append(script); fetch('http://127.0.0.2:9/').catch(() => null)",
    );
    page.becomes("violations.length === 2");
    assert_eq!(page.evaluate("violations.sort()"), json!(["connect-src", "script-src-elem"]));
    assert_eq!(page.evaluate("window.ran === undefined"), true);
}
