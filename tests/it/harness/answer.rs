//! An answer of the service, and assertions about it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::laws;

/// An answer that has passed the checks of `laws`.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The request, for messages: method and path.
    pub(super) what: String,
    pub(crate) status: u16,
    /// Header names are in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) bytes: Vec<u8>,
}

/// Joins the lines of one header to one list. RFC 9110, section 5.3.
pub(super) fn joined<'a>(
    lines: impl Iterator<Item = (&'a str, impl Into<String>)>,
) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in lines {
        let value = value.into();
        let present = headers.entry(name.to_lowercase()).or_default();
        *present = if present.is_empty() { value } else { format!("{present}, {value}") };
    }
    headers
}

impl Answer {
    #[track_caller]
    pub(super) fn new(what: String, status: u16, headers: BTreeMap<String, String>, bytes: Vec<u8>) -> Self {
        let answer = Self { what, status, headers, bytes };
        laws::hold(&answer);
        answer
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        identity_domain::json::parse(&self.bytes)
            .unwrap_or_else(|error| panic!("{self} is not JSON: {error}"))
    }

    /// The member `detail`, which every error body has.
    #[track_caller]
    pub(crate) fn detail(&self) -> Value {
        self.json()["detail"].clone()
    }

    #[track_caller]
    pub(crate) fn must_be(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// 200, and the body.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        self.must_be(200).json()
    }

    /// 201, and the body.
    #[track_caller]
    pub(crate) fn created(self) -> Value {
        self.must_be(201).json()
    }

    /// 204 without a body, since some clients would parse one.
    #[track_caller]
    pub(crate) fn no_content(self) {
        let answer = self.must_be(204);
        assert!(answer.bytes.is_empty(), "{answer}");
    }

    /// An error whose detail is text. Returns the text.
    #[track_caller]
    pub(crate) fn refused(self, status: u16) -> String {
        let answer = self.must_be(status);
        let detail = answer.detail();
        detail.as_str().unwrap_or_else(|| panic!("{answer} explains itself in a string")).to_owned()
    }

    /// An error with this machine code, in `code` or `error` of the detail. Returns the detail.
    #[track_caller]
    pub(crate) fn refused_as(self, status: u16, code: &str) -> Value {
        let answer = self.must_be(status);
        let detail = answer.detail();
        let found = detail.get("code").or_else(|| detail.get("error")).and_then(Value::as_str);
        assert_eq!(found, Some(code), "{answer}");
        detail
    }

    /// 409, since the name is taken in this namespace.
    #[track_caller]
    pub(crate) fn handle_unavailable(self, namespace: &str) {
        let what = self.to_string();
        let detail = self.refused_as(409, "agent_handle_unavailable");
        assert_eq!(detail["blocking_namespace"], namespace, "{what}");
        assert!(detail["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}");
    }

    /// 422 with a list of faults. Returns the one whose place begins with `place`.
    #[track_caller]
    pub(crate) fn invalid_at(self, place: &[&str]) -> Value {
        let answer = self.must_be(422);
        let faults = answer.detail();
        let fault = faults.as_array().into_iter().flatten().find(|fault| lies_at(fault, place));
        fault.unwrap_or_else(|| panic!("{answer} has no fault at {place:?}")).clone()
    }

    /// 422, since the body was not JSON.
    #[track_caller]
    pub(crate) fn not_json(self) {
        let what = self.to_string();
        let fault = self.invalid_at(&["body"]);
        assert_eq!(fault["type"], "json_invalid", "{what}");
        assert_eq!(fault["loc"], serde_json::json!(["body", 0]), "{what}");
    }

    /// The version of an identity, which is the first part of its tag.
    #[track_caller]
    pub(crate) fn version(&self) -> String {
        let tag = self.headers["etag"].trim_matches('"');
        tag.split('-').next().unwrap().to_owned()
    }

    /// The body as text. The request id, which differs between any two answers, is replaced.
    #[track_caller]
    pub(crate) fn without_request_id(&self) -> String {
        let text = String::from_utf8(self.bytes.clone()).unwrap();
        match self.json()["request_id"].as_str() {
            Some(id) => text.replace(id, "request id"),
            None => text,
        }
    }
}

fn lies_at(fault: &Value, place: &[&str]) -> bool {
    let found = fault["loc"].as_array().map(Vec::as_slice).unwrap_or_default();
    place.len() <= found.len() && place.iter().zip(found).all(|(expected, found)| found == expected)
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.bytes);
        let shown: String = body.chars().take(2000).collect();
        write!(formatter, "the answer {} to {}: {shown}", self.status, self.what)
    }
}
