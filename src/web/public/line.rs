//! The state of the queue for the waiting page: as a stream, or as a single answer.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;

use crate::http::LastOfConnection;
use crate::web::feeds::LineStatus;
use crate::web::respond::Problem;
use crate::web::streams::{OpenStream, StreamEnd};
use crate::web::{App, VisitorAddress};

const NO_SUCH_LINE: Problem = Problem::Rest(StatusCode::NOT_FOUND, "There is no such line");

/// `GET /line/{event}`: the current state.
pub async fn state(app: Data<App>, event: Path<String>) -> Result<HttpResponse, Problem> {
    let room = app.lobby.room(&event).ok_or(NO_SUCH_LINE)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=1"))
        .json(LineStatus::of(&app.lobby, room)))
}

/// `GET /line/{event}/events`: the current state and each change, as server-sent events (WHATWG HTML §9.2). A slow
/// reader misses outdated messages, never the latest. If the address has reached its limit of streams, or the
/// connection ends with this answer, the answer is 204, by which a stream tells its client not to reconnect; the page
/// then polls the state.
pub async fn events(request: HttpRequest, app: Data<App>, event: Path<String>) -> Result<HttpResponse, Problem> {
    let mut messages = app.feeds.listen(&event).ok_or(NO_SUCH_LINE)?;
    messages.mark_changed();
    let key = VisitorAddress::of(&app.site, &request).limited(&app.site);
    let may_last = !request.extensions().contains::<LastOfConnection>();
    let Some(open) = may_last.then(|| app.streams.open(key)).flatten() else {
        return Ok(HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).finish());
    };
    let end = StreamEnd::new(app.lobby.entropy(), app.lobby.clock().steady());
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(news(app, messages, open, end)))
}

/// The messages until the service stops or the stream's lifetime ends.
fn news(
    app: Data<App>,
    messages: watch::Receiver<Option<Bytes>>,
    open: OpenStream,
    end: StreamEnd,
) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
    unfold(Some((app, messages, open, end)), |listening| async move {
        let (app, mut messages, open, end) = listening?;
        messages.changed().await.ok()?;
        let message: Bytes = messages.borrow_and_update().clone()?;
        if end.has_come(app.lobby.clock().steady()) {
            return Some((Ok(end.message()), None));
        }
        Some((Ok(message), Some((app, messages, open, end))))
    })
}
