//! The shop's errors, and the page for each.
//!
//! Separates the text for the visitor from the detail, which goes to the log alone.

use std::error::Error;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};

use super::views;

/// Why a page is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShopError {
    /// An invalid query: parameters missing, repeated, or not text.
    #[error("That address makes no sense to the shop.")]
    Malformed,
    /// No such page.
    #[error("There is no such page in this shop.")]
    Nowhere,
    /// `iss` names another issuer: a mix-up attack (RFC 9207), or another site's login.
    #[error("That login comes from an issuer that this shop does not know.")]
    ForeignIssuer,
    /// The `state` does not belong to a pending login of this browser.
    #[error("That login is not under way in this browser: it was used already, or it took too long.")]
    UnknownLogin,
    /// The issuer refused, with this error code (RFC 6749 §4.1.2.1 and §5.2).
    #[error("The waiting room did not let the login through ({0}).")]
    Declined(String),
    /// The issuer could not be reached or understood; the detail is for the log.
    #[error("The waiting room does not answer just now.")]
    IssuerAway(String),
    /// The issuer's answer failed verification; the detail is for the log.
    #[error("The waiting room's answer could not be verified, so the shop did not believe it.")]
    Unverified(String),
}

impl ShopError {
    /// The issuer is away; `error` with its causes is the detail.
    pub(super) fn away(error: impl Error) -> Self {
        Self::IssuerAway(with_causes(&error))
    }

    /// The answer fails verification; `error` with its causes is the detail.
    pub(super) fn unverified(error: impl Error) -> Self {
        Self::Unverified(with_causes(&error))
    }
}

fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl ResponseError for ShopError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Malformed | Self::ForeignIssuer | Self::UnknownLogin => StatusCode::BAD_REQUEST,
            Self::Nowhere => StatusCode::NOT_FOUND,
            Self::Declined(_) => StatusCode::FORBIDDEN,
            Self::IssuerAway(_) | Self::Unverified(_) => StatusCode::BAD_GATEWAY,
        }
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::IssuerAway(detail) | Self::Unverified(detail) = self {
            tracing::warn!(detail, "the shop could not complete a login: {self}");
        }
        views::page(self.status_code(), &views::Sorry { reason: self.to_string() })
    }
}
