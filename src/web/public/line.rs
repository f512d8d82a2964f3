//! What the waiting page listens to: the state of its line, as a stream or asked for once.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Data, Path};
use futures_util::stream::unfold;

use crate::web::App;
use crate::web::feeds::LineState;
use crate::web::respond::Problem;

const NO_SUCH_LINE: Problem = Problem::Rest(StatusCode::NOT_FOUND, "There is no such line");

/// `GET /line/{event}`: the state now.
pub async fn state(app: Data<App>, event: Path<String>) -> Result<HttpResponse, Problem> {
    let room = app.lobby.room(&event).ok_or(NO_SUCH_LINE)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=1"))
        .json(LineState::of(&app.lobby, room)))
}

/// `GET /line/{event}/events`: the state now and whenever it changes, as server-sent events (WHATWG HTML §9.2).
/// A slow reader misses what has been overtaken, never the latest.
pub async fn events(app: Data<App>, event: Path<String>) -> Result<HttpResponse, Problem> {
    let mut messages = app.feeds.listen(&event).ok_or(NO_SUCH_LINE)?;
    messages.mark_changed();
    let stream = unfold(messages, |mut messages| async move {
        messages.changed().await.ok()?;
        let message: Bytes = messages.borrow_and_update().clone()?;
        Some((Ok::<_, actix_web::Error>(message), messages))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(stream))
}
