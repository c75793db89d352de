//! Lists of identities: pages, filters, and lists that are written while they are read.

mod at_random;
mod filters;
mod pages;
mod whole;

use serde_json::Value;

use crate::harness::{Answer, Caller, text};

/// The path of the next page, from the `Link` header. It is a reference relative to the address of the request, so it also holds
/// where a proxy adds a prefix.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?;
    let (target, relation) = link.split_once(">; ").unwrap();
    assert_eq!(relation, "rel=\"next\"");
    let query = target.strip_prefix("<?").expect("the reference is only a query");
    Some(format!("/identities?{query}"))
}

impl Caller {
    /// The handles of this page and of all following ones.
    #[track_caller]
    fn pages(&self, path: &str) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut path = Some(path.to_owned());
        while let Some(this) = path {
            let answer = self.get(&this).must_be(200);
            path = next(&answer);
            pages.push(handles(&answer.json()));
        }
        pages
    }

    /// The handles of a list.
    #[track_caller]
    fn handles_of(&self, query: &str) -> Vec<String> {
        handles(&self.get(&format!("/identities?{query}")).ok())
    }
}

fn handles(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|identity| text(&identity["agent_handle"])).collect()
}
