//! Who may use the private API: the holders of an admin key.

use actix_web::HttpRequest;
use actix_web::http::header;

use crate::config::AdminKey;
use crate::web::App;
use crate::web::extract::header_text;
use crate::web::respond::Problem;

/// The operator who sent the request. Made by [`operator`] alone.
pub struct Operator<'a>(&'a AdminKey);

impl Operator<'_> {
    /// What the log calls the operator's key.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

/// Tells the operator by the bearer key. Every key is compared, so that the time tells nothing.
///
/// # Errors
/// 403, worded as API Gateway does.
pub fn operator<'a>(app: &'a App, request: &HttpRequest) -> Result<Operator<'a>, Problem> {
    let bearer = header_text(request, &header::AUTHORIZATION).and_then(|header| header.split_once(' '));
    let Some((_, key)) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return Err(Problem::Forbidden("Missing Authentication Token"));
    };
    let matching = app
        .admins
        .iter()
        .fold(None, |found, admin| if admin.key.matches(key.trim().as_bytes()) { Some(admin) } else { found });
    matching.map(Operator).ok_or(Problem::Forbidden("Forbidden"))
}
