//! The yardstick "bare": what actix-web alone does with answers of our size, headers and number of workers.

use actix_web::http::header;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};

use super::Outcome;

const NUMBER: &str = r#"{"queue_number":1234,"entry_time":1800000000,"event_id":"Sample","status":1}"#;

async fn number() -> HttpResponse {
    answer("public, max-age=1, stale-while-revalidate=4", Bytes::from_static(NUMBER.as_bytes()))
}

async fn echo(body: Bytes) -> HttpResponse {
    answer("no-store", body)
}

fn answer(caching: &'static str, body: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, caching))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .body(body)
}

/// Serves until it is killed; tells its address on the first line.
pub fn serve() -> Outcome<()> {
    let app = || App::new().route("/number", web::get().to(number)).route("/echo", web::post().to(echo));
    let server = HttpServer::new(app).bind(("127.0.0.1", 0))?;
    let address = server.addrs().first().copied().ok_or("no address")?;
    println!("bare at {address}");
    Ok(actix_web::rt::System::new().block_on(server.run())?)
}
