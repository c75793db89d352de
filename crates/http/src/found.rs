//! An identity that was found, with the digest of its body for the entity tag. The cache keeps the digest, so it is computed when an
//! identity is read from the database or written, and not for each answer.

use std::ops::Deref;

use identity_projections::identities::IdentityBody;

use crate::revision::{Digest, Revision};

/// An identity as one caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    identity: IdentityBody,
    digest: Digest,
}

impl Found {
    /// An identity that was read, or that a write has made.
    pub(crate) fn of(identity: IdentityBody) -> Self {
        let digest = Digest::of([identity.body().as_bytes()]);
        Self { identity, digest }
    }

    /// An identity whose digest is known.
    pub(crate) fn with_digest(identity: IdentityBody, digest: Digest) -> Self {
        Self { identity, digest }
    }

    /// The digest of its body.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Its strong tag.
    pub(crate) fn tag(&self) -> String {
        Revision::from(self).tag_of(self.digest)
    }
}

impl Deref for Found {
    type Target = IdentityBody;

    fn deref(&self) -> &IdentityBody {
        &self.identity
    }
}

impl From<&Found> for Revision {
    fn from(found: &Found) -> Self {
        Self { id: found.id, version: found.version, changed_at: found.changed_at }
    }
}
