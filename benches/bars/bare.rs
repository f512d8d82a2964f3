//! The "bare" yardstick: actix-web with answers and streams of the same size, headers and number of workers.

use actix_web::http::header;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use futures_util::stream::{self, StreamExt as _};

use super::Outcome;

const NUMBER: &str = r#"{"queue_number":1234,"entry_time":1800000000,"event_id":"Sample","status":1}"#;

const EVENT: &str =
    "retry: 3000\ndata: {\"generation\":0,\"serving\":0,\"waiting\":0,\"pace\":null,\"paused\":false}\n\n";

async fn number() -> HttpResponse {
    answer("public, max-age=1, stale-while-revalidate=4", Bytes::from_static(NUMBER.as_bytes()))
}

async fn echo(body: Bytes) -> HttpResponse {
    answer("no-store", body)
}

/// One message, then silence.
async fn events() -> HttpResponse {
    let message = stream::iter([Ok::<_, actix_web::Error>(Bytes::from_static(EVENT.as_bytes()))]);
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(message.chain(stream::pending()))
}

fn answer(caching: &'static str, body: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, caching))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .body(body)
}

/// Serves until it is killed; prints its address on the first line.
pub fn serve() -> Outcome<()> {
    let app = || {
        App::new()
            .route("/number", web::get().to(number))
            .route("/echo", web::post().to(echo))
            .route("/events", web::get().to(events))
    };
    let server = HttpServer::new(app).bind(("127.0.0.1", 0))?;
    let address = server.addrs().first().copied().ok_or("no address")?;
    println!("bare at {address}");
    Ok(actix_web::rt::System::new().block_on(server.run())?)
}
