//! The OpenID Provider's endpoints (`docs/oidc.md`).

mod answer;
pub mod authorize;
pub mod cookie_check;
pub mod login_step;
pub mod metadata;
pub mod resume;
pub mod token;
pub mod user_info;
