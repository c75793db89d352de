//! Describes an operation from the signature of its handler. Every extractor describes itself, so handler and document
//! cannot differ in who may call, which parameters and headers are read, and what the body is.

use axum::Extension;
use axum::extract::State;
use serde_json::{Value, json};

use crate::caller::{Admin, AdminAfterLookup, Agent, App, AppSettings, Caller, Historian, Holder, Segments};
use crate::code::Code;
use crate::form::{Form, ReadForm, Sent, insert};
use crate::headers::{IfMatch, IfNoneMatch, LastEventId};
use crate::openapi::written::Written;
use crate::parameters::{DescribeQuery, Parameters, Query};

/// The description of an operation, as far as it follows from the signature of its handler.
#[derive(Debug, Default)]
pub(crate) struct About {
    /// Whose key is accepted, in words; `None` if no key is needed.
    pub(super) key: Option<&'static str>,
    /// The scopes that such a key may have.
    pub(super) scopes: &'static [&'static str],
    /// Query parameters, in full, and references to headers.
    pub(super) parameters: Vec<Value>,
    /// The body: the name of its schema, and the schema.
    pub(super) body: Option<(&'static str, Value)>,
    /// The errors of the extractors, and of reading the form or query that an extractor gives to the handler.
    pub(super) codes: Vec<Code>,
}

impl About {
    /// Collects the descriptions of all extractors of a handler.
    pub(crate) fn of<T>(handler: &impl DescribedHandler<T>) -> Self {
        let mut about = Self::default();
        handler.describe(&mut about);
        about
    }

    /// Whether the operation has a parameter with this name.
    pub(super) fn takes(&self, name: &str) -> bool {
        let reference = component(name);
        self.parameters.iter().any(|parameter| parameter["name"] == name || *parameter == reference)
    }

    fn needs_key(&mut self, whose: &'static str, scopes: &'static [&'static str]) {
        self.key = Some(whose);
        self.scopes = scopes;
        self.codes.extend([
            Code::Unauthorized,
            Code::RateLimited,
            Code::ShareUsedUp,
            Code::Unavailable,
            Code::DatabaseAltered,
            Code::Overloaded,
            Code::Preparing,
        ]);
    }

    /// The same, with `forbidden` for a valid key of another scope.
    fn needs_one_of(&mut self, whose: &'static str, scopes: &'static [&'static str]) {
        self.needs_key(whose, scopes);
        self.codes.push(Code::Forbidden);
    }
}

/// Returns the OpenAPI document, which is made when it is requested for the first time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document(pub(crate) fn() -> &'static Written);

/// A reference to a parameter that many operations share.
pub(super) fn component(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

/// An extractor that describes what it reads.
pub(crate) trait Describe {
    /// Adds its part to the description of the operation.
    fn describe(about: &mut About);
}

/// A handler whose extractors all describe themselves.
pub(crate) trait DescribedHandler<T> {
    /// Adds the parts of all extractors.
    fn describe(&self, about: &mut About);
}

macro_rules! handlers {
    ($(($($extractor:ident),*))*) => {
        $(impl<F: Fn($($extractor),*) -> R, R, $($extractor: Describe),*> DescribedHandler<($($extractor,)*)> for F {
            fn describe(&self, _about: &mut About) {
                $($extractor::describe(_about);)*
            }
        })*
    };
}

handlers! { () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) }

macro_rules! describe {
    ($($extractor:ty $(where $generic:ident: $bound:path)?, |$about:ident| $body:block)*) => {
        $(impl$(<$generic: $bound>)? Describe for $extractor {
            fn describe($about: &mut About) $body
        })*
    };
}

describe! {
    Holder, |about| { about.needs_key("any API key", &["admin", "agent", "auditor"]) }
    Caller, |about| { about.needs_one_of("an admin's or an agent's API key", &["admin", "agent"]) }
    Admin, |about| { about.needs_one_of("an admin's API key", &["admin"]) }
    AdminAfterLookup, |about| { about.needs_one_of("an admin's API key", &["admin"]) }
    Agent, |about| {
        about.needs_one_of("an agent's API key", &["agent"]);
        about.codes.push(Code::SigningKeyOfNobody);
    }
    Historian, |about| { about.needs_one_of("an admin's or an auditor's API key", &["admin", "auditor"]) }
    State<App>, |_about| {}
    Extension<Document>, |_about| {}
    IfMatch, |about| {
        about.parameters.push(component("If-Match"));
        about.codes.push(Code::PreconditionFailed);
    }
    IfNoneMatch, |about| { about.parameters.push(component("If-None-Match")) }
    LastEventId, |about| {
        about.parameters.push(component("Last-Event-ID"));
        about.codes.push(Code::ValidationFailed);
    }
    // The path of the operation names its segments.
    Segments<T> where T: Sized, |about| { about.codes.push(Code::NotFound) }
    Query<T> where T: DescribeQuery, |about| {
        about.parameters.extend(Parameters::described::<T>());
        about.codes.push(Code::ValidationFailed);
    }
    Sent<T> where T: ReadForm, |about| {
        let settings = AppSettings { longest_description: DEFAULT_MAX_DESCRIPTION, ..AppSettings::default() };
        let mut schema = Form::describe(|form| T::read(form, &settings));
        let example: Value = serde_json::from_str(T::EXAMPLE).unwrap_or_default();
        insert(&mut schema, json!({ "examples": [example] }));
        about.body = Some((T::NAME, schema));
    }
}

/// The default of the setting for the longest description, in characters.
const DEFAULT_MAX_DESCRIPTION: usize = 10_000;
