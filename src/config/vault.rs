//! The store that `secret:NAME` looks in, handed in like the environment, so that a test can make it up.

use crate::ambient::Secret;

/// Where secrets are kept under names.
pub trait Vault {
    /// The whole of the secret of this name.
    ///
    /// # Errors
    /// See [`Withheld`].
    fn secret(&self, name: &str) -> Result<Secret, Withheld>;
}

/// Why a vault does not give a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Withheld {
    /// It cannot. The reason is for the operator, and holds nothing of the secret.
    Because(String),
    /// Nobody is to ask it: what has to be known of the configuration does not depend on secrets.
    Unasked,
}

/// No vault at all.
pub struct NoVault;

impl Vault for NoVault {
    fn secret(&self, _name: &str) -> Result<Secret, Withheld> {
        Err(Withheld::Because("no store of secrets is at hand".to_owned()))
    }
}

/// A vault that is left alone.
pub(super) struct Unasked;

impl Vault for Unasked {
    fn secret(&self, _name: &str) -> Result<Secret, Withheld> {
        Err(Withheld::Unasked)
    }
}
