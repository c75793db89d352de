//! What the service says of itself: the document, and the page that shows it.

mod browser;
mod page;
