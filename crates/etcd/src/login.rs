//! Name and password, where etcd wants them: they are exchanged for a token that is valid for some minutes.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use secrecy::{ExposeSecret as _, SecretString};

use super::wire::Authentication;

/// An account of etcd.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// An account, and the last token that it got.
pub(crate) struct Login {
    account: Account,
    token: RwLock<Option<String>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Login").field(&self.account.user).finish()
    }
}

impl Login {
    pub(crate) fn new(account: Account) -> Self {
        Self { account, token: RwLock::default() }
    }

    pub(crate) fn token(&self) -> Option<String> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_token(&self, token: String) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    pub(crate) fn request(&self) -> Authentication<'_> {
        Authentication { name: &self.account.user, password: self.account.password.expose_secret() }
    }
}
