//! What the signature of a handler says of its operation. Every extractor describes itself, so who may call, which
//! parameters and headers count and what the body is can never differ between handler and document.

use axum::extract::State;
use serde_json::{Value, json};

use crate::caller::{Admin, App, AppSettings, Caller, Historian, Holder, Segments};
use crate::code::Code;
use crate::form::{Form, ReadForm, Sent, insert};
use crate::headers::{IfMatch, IfNoneMatch, LastEventId};
use crate::limits;
use crate::parameters::{Parameters, Query, ReadQuery};

/// What is known of an operation from its handler's signature.
#[derive(Debug, Default)]
pub(crate) struct About {
    /// Whose key is taken, in words; `None` if no key is needed.
    pub(super) key: Option<&'static str>,
    /// Query parameters, in full, and references to headers.
    pub(super) parameters: Vec<Value>,
    /// The body: the name of its schema, and the schema.
    pub(super) body: Option<(&'static str, Value)>,
    /// What can go wrong before the handler runs, or in what its extractors hand out.
    pub(super) codes: Vec<Code>,
}

impl About {
    /// Asks every extractor of a handler.
    pub(crate) fn of<T>(handler: &impl DescribedHandler<T>) -> Self {
        let mut about = Self::default();
        handler.describe(&mut about);
        about
    }

    /// Whether a parameter with this name is taken.
    pub(super) fn takes(&self, name: &str) -> bool {
        let reference = component(name);
        self.parameters.iter().any(|parameter| parameter["name"] == name || *parameter == reference)
    }

    fn needs_key(&mut self, whose: &'static str) {
        self.key = Some(whose);
        self.codes.extend([
            Code::Unauthorized,
            Code::RateLimited,
            Code::Unavailable,
            Code::Overloaded,
            Code::Preparing,
        ]);
    }
}

/// A reference to a parameter that many operations share.
pub(super) fn component(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

/// An extractor that says what it takes.
pub(crate) trait Describe {
    /// Adds that to what is known of the operation.
    fn describe(about: &mut About);
}

/// A handler whose extractors all say what they take.
pub(crate) trait DescribedHandler<T> {
    /// Adds what they say.
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

handlers! { () (A) (A, B) (A, B, C) (A, B, C, D) }

impl Describe for Holder {
    fn describe(about: &mut About) {
        about.needs_key("any API key");
    }
}

impl Describe for Caller {
    fn describe(about: &mut About) {
        about.needs_key("an admin's or an agent's API key");
        about.codes.push(Code::Forbidden);
    }
}

impl Describe for Admin {
    fn describe(about: &mut About) {
        about.needs_key("an admin's API key");
        about.codes.push(Code::Forbidden);
    }
}

impl Describe for Historian {
    fn describe(about: &mut About) {
        about.needs_key("an admin's or an auditor's API key");
        about.codes.push(Code::Forbidden);
    }
}

impl Describe for State<App> {
    fn describe(_: &mut About) {}
}

/// Which segments there are, the path says.
impl<T> Describe for Segments<T> {
    fn describe(about: &mut About) {
        about.codes.push(Code::NotFound);
    }
}

impl Describe for IfMatch {
    fn describe(about: &mut About) {
        about.parameters.push(component("If-Match"));
        about.codes.push(Code::PreconditionFailed);
    }
}

impl Describe for IfNoneMatch {
    fn describe(about: &mut About) {
        about.parameters.push(component("If-None-Match"));
    }
}

impl Describe for LastEventId {
    fn describe(about: &mut About) {
        about.parameters.push(component("Last-Event-ID"));
        about.codes.push(Code::ValidationFailed);
    }
}

impl<T: ReadQuery> Describe for Query<T> {
    fn describe(about: &mut About) {
        about.parameters.extend(Parameters::described::<T>());
        about.codes.push(Code::ValidationFailed);
    }
}

impl<T: ReadForm> Describe for Sent<T> {
    fn describe(about: &mut About) {
        let mut schema = Form::describe(|form| T::read(form, &usual_settings()));
        insert(&mut schema, json!({ "examples": [T::example()] }));
        about.body = Some((T::NAME, schema));
    }
}

/// What a form has to know of the settings to describe itself.
fn usual_settings() -> AppSettings {
    AppSettings {
        mail_domain: String::new(),
        tunnel_zone: String::new(),
        longest_description: 10_000,
        limits: limits::Settings::default(),
        longest_request: std::time::Duration::ZERO,
        most_requests: 0,
        heartbeat: std::time::Duration::ZERO,
    }
}
