//! The operations of the served document, and one valid request for each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Call, Caller, World, text};

/// An operation of the document.
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) method: Method,
    pub(super) path: String,
    described: Value,
    document: Arc<Value>,
}

/// The operations of the served document that need a key.
pub(super) fn operations(world: &World) -> Vec<Operation> {
    described(world).into_iter().filter(|operation| operation.scopes().is_some()).collect()
}

/// The operations that need no key.
pub(super) fn public(world: &World) -> Vec<Operation> {
    described(world).into_iter().filter(|operation| operation.scopes().is_none()).collect()
}

fn described(world: &World) -> Vec<Operation> {
    let served = world.stranger().call_at(Method::GET, "/openapi.json").open().unwrap().text().unwrap();
    let document: Arc<Value> = Arc::new(serde_json::from_str(&served).unwrap());
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(|(method, described)| Operation {
            id: text(&described["operationId"]),
            method: method.to_uppercase().parse().unwrap(),
            path: path.clone(),
            described: described.clone(),
            document: Arc::clone(&document),
        })
    });
    operations.collect()
}

/// The operations that change nothing.
pub(super) fn reads(world: &World) -> Vec<Operation> {
    operations(world).into_iter().filter(|operation| !operation.is_write()).collect()
}

/// The media type of an answer without an end.
pub(super) const STREAM: &str = "text/event-stream";

/// The operations that can be followed.
pub(super) fn streams(world: &World) -> Vec<Operation> {
    let is_stream = |operation: &Operation| operation.media_types().contains(&STREAM);
    let streams: Vec<Operation> = reads(world).into_iter().filter(is_stream).collect();
    assert!(!streams.is_empty(), "nothing can be followed");
    streams
}

/// The operations that may change something.
pub(super) fn writes(world: &World) -> Vec<Operation> {
    operations(world).into_iter().filter(Operation::is_write).collect()
}

/// The owner of what a request names. The later ones are known to fewer callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named {
    Nothing,
    /// Something of the whole organization.
    Organization,
    /// An identity, or something that it owns.
    Identity,
}

/// Values for the parameters and for the members of a body, by their names.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) parameters: BTreeMap<&'static str, String>,
    pub(super) members: BTreeMap<&'static str, String>,
}

/// Members that name something of the whole organization.
const OF_THE_ORGANIZATION: [&str; 2] = ["auth_hash", "current_auth_hash"];

/// Parameters with positions in the caller's own history. They name nothing.
const POSITIONS: [&str; 3] = ["organization_sequence", "from", "as_of"];

/// A member that an agent may leave out. The key of an admin is bound to no identity, so an admin must send it.
const FOR_ADMINS: &str = "agent_identity_id";

/// A request that the operation accepts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    method: Method,
    pub(super) target: String,
    pub(super) body: Option<Value>,
    pub(super) named: Named,
}

impl Request {
    /// The request with this caller's key. It is not sent yet.
    pub(super) fn of(&self, caller: &Caller) -> Call {
        let call = caller.call_at(self.method.clone(), &self.target);
        match &self.body {
            Some(body) => call.json(body),
            None => call,
        }
    }

    /// The same with another method.
    pub(super) fn with_method(&self, method: Method) -> Self {
        Self { method, ..self.clone() }
    }

    /// The same with another body.
    pub(super) fn with_body(&self, body: Value) -> Self {
        Self { body: Some(body), ..self.clone() }
    }

    /// The same with a slash at the end of the path.
    pub(super) fn with_slash(&self) -> Self {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        Self { target: format!("{path}/{query}"), ..self.clone() }
    }

    pub(super) fn send(&self, caller: &Caller) -> Answer {
        self.of(caller).send()
    }
}

impl Operation {
    /// The scopes whose keys are taken; `None` if no key is needed.
    pub(super) fn scopes(&self) -> Option<Vec<&str>> {
        let scopes = self.described["x-key-scopes"].as_array()?;
        Some(scopes.iter().filter_map(Value::as_str).collect())
    }

    pub(super) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    pub(super) fn takes_body(&self) -> bool {
        self.described["requestBody"].is_object()
    }

    pub(super) fn success(&self) -> u16 {
        let statuses = self.described["responses"].as_object().unwrap().keys();
        statuses.filter_map(|status| status.parse().ok()).find(|status| (200..300).contains(status)).unwrap()
    }

    /// Whether the operation takes a header or query parameter of this name.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.parameters().any(|parameter| parameter["name"] == name)
    }

    /// The media types of the successful answer.
    pub(super) fn media_types(&self) -> Vec<&str> {
        let content = self.described["responses"][self.success().to_string()]["content"].as_object();
        content.into_iter().flat_map(|content| content.keys().map(String::as_str)).collect()
    }

    /// Whether the operation can fail with this code.
    pub(super) fn can_fail_with(&self, code: &str) -> bool {
        let failures = self.described["responses"].as_object().unwrap().values();
        failures.map(|failure| self.resolved(failure)).any(|failure| {
            failure
                .pointer("/content/application~1json/examples")
                .is_some_and(|examples| examples.get(code).is_some())
        })
    }

    /// Whether the path is also served with a slash at its end.
    pub(super) fn has_twin(&self) -> bool {
        text(&self.described["description"]).contains(&format!("`{}/` is the same", self.path))
    }

    /// A valid request with these names. If `all_parameters` is set, it has every optional parameter for which there is
    /// a name.
    pub(super) fn request(&self, names: &Names, all_parameters: bool) -> Request {
        let mut request =
            Request { method: self.method.clone(), target: String::new(), body: None, named: Named::Nothing };
        request.target = self
            .path
            .split('/')
            .map(|segment| self.segment(segment, names, &mut request))
            .collect::<Vec<_>>()
            .join("/");
        let query = self.query(names, all_parameters, &mut request);
        if !query.is_empty() {
            request.target = format!("{}?{query}", request.target);
        }
        request.body = self.body(names, &mut request);
        request
    }

    fn parameters(&self) -> impl Iterator<Item = &Value> {
        self.described["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|parameter| self.resolved(parameter))
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    fn segment(&self, segment: &str, names: &Names, request: &mut Request) -> String {
        match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
            Some(name) => self.parameter(name, names, request),
            None => segment.to_owned(),
        }
    }

    fn query(&self, names: &Names, all_parameters: bool, request: &mut Request) -> String {
        let in_query = self.parameters().filter(|parameter| parameter["in"] == "query");
        let wanted = in_query.filter_map(|parameter| {
            let name = parameter["name"].as_str().unwrap();
            let is_optional = parameter["required"] != true && name != FOR_ADMINS;
            (!is_optional || all_parameters && names.parameters.contains_key(name)).then_some(name)
        });
        wanted
            .map(|name| format!("{name}={}", self.parameter(name, names, request)))
            .collect::<Vec<_>>()
            .join("&")
    }

    fn parameter(&self, name: &str, names: &Names, request: &mut Request) -> String {
        let value = names.parameters.get(name);
        let value =
            value.unwrap_or_else(|| panic!("{}: the estate has nothing for the parameter {name}", self.id));
        request.name(name);
        value.clone()
    }

    /// The example in the document, with a new name for what is created and the given names for what must exist.
    fn body(&self, names: &Names, request: &mut Request) -> Option<Value> {
        let schema = self.resolved(self.described.pointer("/requestBody/content/application~1json/schema")?);
        let mut body = schema["examples"][0].clone();
        if schema["properties"].get(FOR_ADMINS).is_some() {
            body[FOR_ADMINS] = Value::Null;
        }
        self.fill(&mut body, names, request);
        Some(body)
    }

    fn fill(&self, body: &mut Value, names: &Names, request: &mut Request) {
        for (name, value) in body.as_object_mut().into_iter().flatten() {
            let makes_a_name = name == "agent_handle" && self.can_fail_with("agent_handle_unavailable");
            if makes_a_name {
                *value = json!(format!("new-desk-{}", next()));
            } else if name == "id" {
                *value = json!(format!("6f1ad7a1-2f5c-4f0e-8a41-{:012}", next()));
            } else if let Some(known) =
                names.members.get(name.as_str()).filter(|_| !value.is_null() || name == FOR_ADMINS)
            {
                request.name(name);
                *value = json!(known);
            } else {
                self.fill(value, names, request);
            }
        }
    }
}

impl Request {
    fn name(&mut self, name: &str) {
        if POSITIONS.contains(&name) {
            return;
        }
        let named = if OF_THE_ORGANIZATION.contains(&name) { Named::Organization } else { Named::Identity };
        self.named = self.named.max(named);
    }
}

/// A different number for each call.
pub(super) fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// How many operations are tested at the same time.
const SIDE_BY_SIDE: usize = 4;

/// Calls `each` for every operation, for several at the same time. They must not disturb each other.
pub(super) fn side_by_side(operations: &[Operation], each: impl Fn(&Operation) + Sync) {
    let place = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(operation) = operations.get(place.fetch_add(1, Ordering::Relaxed)) {
                    each(operation);
                }
            });
        }
    });
}
