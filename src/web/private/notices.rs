//! Notices for operators: the stream `GET /private/events`, and the dead letters.

use std::pin::pin;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;
use url::form_urlencoded;

use super::access::operator;
use crate::lobby::LobbyError;
use crate::notices::{Notices, payload};
use crate::policy;
use crate::store::{DeadLetter, Letter, StoreError};
use crate::web::App;
use crate::web::extract::{Body, header_text, json, room};
use crate::web::respond::{Audience, Problem, json_no_store};
use crate::web::streams::StreamEnd;

const NO_NOTICES: Problem =
    Problem::Rest(StatusCode::NOT_FOUND, "No events go out: set notices.stream, or configure a webhook or a bus");

fn notices(app: &App) -> Result<&Notices, Problem> {
    app.notices.as_deref().ok_or(NO_NOTICES)
}

fn store_problem(error: StoreError) -> Problem {
    Problem::Internal(LobbyError::Store(error), Audience::Rest)
}

fn parameter(request: &HttpRequest, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(request.query_string().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// An open stream of notices.
struct EventStream {
    app: Data<App>,
    wake: watch::Receiver<Option<u64>>,
    /// The event to stream; `None`: all.
    event: Option<String>,
    after: u64,
    /// The number of the next notice if none was swept meanwhile; taken at the first page.
    expected: Option<u64>,
    end: StreamEnd,
}

/// `GET /private/events?event_id=`: notices from now on, or after `Last-Event-ID`, as server-sent events.
pub async fn events(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    operator(&app, &request, &body)?;
    let notices = notices(&app)?;
    let event = parameter(&request, "event_id");
    if let Some(event) = &event {
        room(&app.lobby, event)?;
    }
    let newest = notices.outbox().newest_letter().await.map_err(store_problem)?;
    let last = header_text(&request, &header::HeaderName::from_static("last-event-id")).map(str::parse::<u64>);
    let last = last.transpose().map_err(|_| Problem::Rest(StatusCode::BAD_REQUEST, "Last-Event-ID is none of ours"))?;
    // A number beyond the newest comes from before a backup was restored.
    let after = last.map_or(newest, |last| last.min(newest));
    let expected = last.map(|last| last.saturating_add(1));
    let wake = notices.subscribe();
    let end = StreamEnd::new(app.lobby.entropy(), app.lobby.clock().steady());
    let stream = EventStream { app: Data::clone(&app), wake, event, after, expected, end };
    let preamble = Bytes::from(format!("retry: {}\n\n", policy::STREAM_RETRY.as_millis()));
    let stream = unfold((Some(preamble), Some(stream)), |(preamble, stream)| async move {
        let mut stream = stream?;
        let message = match preamble {
            Some(preamble) => preamble,
            None if stream.end.has_come(stream.app.lobby.clock().steady()) => {
                return Some((Ok(stream.end.message()), (None, None)));
            }
            None => stream.next().await?,
        };
        Some((Ok::<_, actix_web::Error>(message), (None, Some(stream))))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(stream))
}

impl EventStream {
    /// The next message; `None`: the stream ends. If there is none for long, a comment keeps proxies from closing the
    /// stream, whatever other streams get meanwhile.
    async fn next(&mut self) -> Option<Bytes> {
        let app = Data::clone(&self.app);
        let mut silence = pin!(app.lobby.wait_for(policy::STREAM_HEARTBEAT));
        loop {
            let open = self.wake.borrow_and_update().is_some();
            let notices = self.app.notices.as_ref().filter(|_| open)?;
            let page = notices.outbox().letters(self.after, policy::NOTICE_PAGE).await;
            let page = page
                .inspect_err(|error| tracing::warn!(%error, "a stream of notices ends: the outbox cannot be read"))
                .ok()?;
            let Some(last) = page.last() else {
                tokio::select! {
                    biased;
                    () = &mut silence => return Some(Bytes::from_static(b":\n\n")),
                    changed = self.wake.changed() => changed.ok()?,
                }
                continue;
            };
            self.after = last.seq;
            let text = self.messages(&page);
            if !text.is_empty() {
                return Some(text.into());
            }
        }
    }

    fn messages(&mut self, page: &[Letter]) -> String {
        let expected = self.expected.take();
        let first = page.first().map(|letter| letter.seq);
        let gap = expected.zip(first).filter(|(expected, first)| expected != first);
        let gap = gap.map(|_| "event: gap\ndata: {}\n\n".to_owned());
        let wanted =
            page.iter().filter(|letter| self.event.as_deref().is_none_or(|event| letter.event.as_str() == event));
        let message = |letter: &Letter| {
            format!("id: {}\nevent: {}\ndata: {}\n\n", letter.seq, letter.kind.name(), payload(letter))
        };
        gap.into_iter().chain(wanted.map(message)).collect()
    }
}

/// A dead letter in the list.
#[derive(Serialize)]
struct Listed {
    sink: String,
    id: u64,
    reason: String,
    given_up_at: String,
    redelivery_pending: bool,
    notice: Box<RawValue>,
}

impl Listed {
    fn of(dead: DeadLetter) -> Self {
        Self {
            id: dead.letter.seq,
            given_up_at: dead.died_at.rfc3339(),
            redelivery_pending: dead.again,
            notice: RawValue::from_string(payload(&dead.letter)).unwrap_or_default(),
            sink: dead.sink,
            reason: dead.reason,
        }
    }
}

/// `GET /private/dead_letters?after=SINK:ID`: a page of dead letters.
pub async fn dead_letters(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    #[derive(Serialize)]
    struct Answer {
        dead_letters: Vec<Listed>,
        next: Option<String>,
    }
    operator(&app, &request, &body)?;
    let unclear = Problem::Rest(StatusCode::BAD_REQUEST, "Invalid after: it must be the next of an earlier answer");
    let after = match parameter(&request, "after") {
        Some(text) => {
            let split = text.rsplit_once(':').and_then(|(sink, id)| Some((sink.to_owned(), id.parse().ok()?)));
            Some(split.ok_or(unclear)?)
        }
        None => None,
    };
    let page = notices(&app)?.outbox().dead_letters(after, policy::DEAD_LETTER_PAGE).await.map_err(store_problem)?;
    let full = page.len() as u64 >= u64::from(policy::DEAD_LETTER_PAGE);
    let next = page.last().filter(|_| full).map(|last| format!("{}:{}", last.sink, last.letter.seq));
    Ok(json_no_store(&Answer { dead_letters: page.into_iter().map(Listed::of).collect(), next }))
}

/// `POST /private/dead_letters/redeliver`: `{"sink"?}`; requeues dead letters.
pub async fn redeliver(request: HttpRequest, app: Data<App>, body: Body) -> Result<HttpResponse, Problem> {
    #[derive(Deserialize)]
    struct Redeliver {
        sink: Option<String>,
    }
    #[derive(Serialize)]
    struct Answer {
        redelivering: u64,
    }
    let operator = operator(&app, &request, &body)?;
    let Redeliver { sink } = json(body)?;
    let redelivering = notices(&app)?.outbox().revive_dead_letters(sink.as_deref()).await.map_err(store_problem)?;
    tracing::info!(operator = operator.name(), redelivering, "dead letters were requeued");
    Ok(json_no_store(&Answer { redelivering }))
}
