//! Structs with defaults for the long argument lists of the published client, and assertions about its errors.

use inkbox::identities::{
    AgentIdentityData, AgentIdentitySummary, BlockingNamespace, HandleUnavailableError,
    IdentityMailboxCreateOptions, IdentityPhoneNumberCreateOptions, IdentityTunnelCreateOptions, Unset,
    VaultSecretIds,
};
use inkbox::{ApiErrorDetail, Inkbox, InkboxError};
use serde_json::Value;

/// The optional arguments of a create. The default has none.
#[derive(Default)]
pub(crate) struct Wish<'a> {
    pub(crate) display_name: Option<&'a str>,
    pub(crate) description: Unset<String>,
    pub(crate) imessage_enabled: Option<bool>,
    pub(crate) mailbox: Option<IdentityMailboxCreateOptions>,
    pub(crate) tunnel: Option<IdentityTunnelCreateOptions>,
    pub(crate) phone_number: Option<IdentityPhoneNumberCreateOptions>,
    pub(crate) vault_secret_ids: Option<VaultSecretIds>,
}

impl Wish<'_> {
    pub(crate) fn create(self, client: &Inkbox, handle: &str) -> inkbox::Result<AgentIdentityData> {
        client.identities().create(
            handle,
            self.display_name,
            self.description,
            self.imessage_enabled,
            self.mailbox.as_ref(),
            self.tunnel.as_ref(),
            self.phone_number.as_ref(),
            self.vault_secret_ids.as_ref(),
        )
    }
}

/// The arguments of an update. The default changes nothing.
#[derive(Default)]
pub(crate) struct Change<'a> {
    pub(crate) handle: Option<&'a str>,
    pub(crate) display_name: Unset<String>,
    pub(crate) description: Unset<String>,
    pub(crate) imessage_enabled: Option<bool>,
    pub(crate) imessage_filter_mode: Option<&'a str>,
    pub(crate) mail_filter_mode: Option<&'a str>,
    pub(crate) phone_filter_mode: Option<&'a str>,
}

impl Change<'_> {
    pub(crate) fn apply(self, client: &Inkbox, handle: &str) -> inkbox::Result<AgentIdentitySummary> {
        client.identities().update(
            handle,
            self.handle,
            self.display_name,
            self.description,
            self.imessage_enabled,
            self.imessage_filter_mode,
            self.mail_filter_mode,
            self.phone_filter_mode,
        )
    }
}

/// Assertions that a call of the published client fails.
pub(crate) trait Refusal {
    /// An error whose detail is text. Returns the text.
    fn refused(self, status: u16) -> String;

    /// 422 with a list of faults. Returns the list.
    fn invalid(self) -> Value;

    /// The name is taken in this namespace.
    fn handle_unavailable(self, namespace: BlockingNamespace);

    /// A grant to one viewer that is redundant, since everybody may see the target.
    fn redundant(self);
}

impl<T> Refusal for inkbox::Result<T> {
    #[track_caller]
    fn refused(self, status: u16) -> String {
        match error(self) {
            InkboxError::Api { status_code, detail: ApiErrorDetail::Message(text) }
                if status_code == status =>
            {
                text
            }
            other => panic!("expected {status} in plain words, not {other:?}"),
        }
    }

    #[track_caller]
    fn invalid(self) -> Value {
        match error(self) {
            InkboxError::Api { status_code: 422, detail: ApiErrorDetail::Structured(faults) } => faults,
            other => panic!("expected a list of faults, not {other:?}"),
        }
    }

    #[track_caller]
    fn handle_unavailable(self, namespace: BlockingNamespace) {
        let error = error(self);
        let typed = HandleUnavailableError::from_error(&error);
        let found = typed.unwrap_or_else(|| panic!("{error:?} does not say that the handle is unavailable"));
        assert_eq!(found.blocking_namespace, Some(namespace));
    }

    #[track_caller]
    fn redundant(self) {
        match error(self) {
            InkboxError::RedundantContactAccessGrant { status_code: 409, detail_message, .. } => {
                assert!(!detail_message.is_empty(), "the redundant grant is not explained");
            }
            other => panic!("expected a redundant grant, not {other:?}"),
        }
    }
}

#[track_caller]
fn error<T>(result: inkbox::Result<T>) -> InkboxError {
    result.err().expect("the call fails")
}
