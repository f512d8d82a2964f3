//! `GET /openapi.json`: the OpenAPI 3.1 description of the REST API.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Bytes, Data};
use serde_json::Value;

use crate::http::SharedBody;
use crate::web::App;
use crate::web::cors::ANY_ORIGIN;

/// Maintained by hand; `tests/app/openapi.rs` compares it with the program.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// The server in the document, including its quotes.
const EXAMPLE: &str = "\"https://queue.example\"";

/// The document with the public URL as its server. All answers share its bytes.
pub fn with_server(issuer: &str) -> Bytes {
    DOCUMENT.replace(EXAMPLE, &Value::from(issuer).to_string()).into()
}

/// The document.
pub async fn document(app: Data<App>) -> HttpResponse {
    let mut answer = HttpResponse::Ok()
        .content_type("application/json")
        .insert_header(ANY_ORIGIN)
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .body(Bytes::clone(&app.openapi));
    answer.extensions_mut().insert(SharedBody);
    answer
}
