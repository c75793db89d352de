//! Documentation: the OpenAPI document, the page that shows it, and the documents and comments of this repository.

mod browser;
mod citations;
mod imports;
mod invariants;
mod links;
mod page;
mod prefix;
mod repository;
