//! Retention: what is deleted, the answers afterwards, and the bounded size of a permanently open event.

use std::path::Path;
use std::time::Duration;

use anteroom::lobby::Room;
use anteroom::room::{Counters, EventId, Generation, RequestId, Session, SessionStatus};
use anteroom::store::Taken;
use futures_util::future::join_all;
use reqwest::StatusCode;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::sessions::{SAMPLE, get, post, said, served, ticket, tokens};
use crate::support::{Browser, TestApp, json as body};

const DAY: u64 = 24 * 3600;

/// Advances the clock and runs the background work.
async fn pass(app: &TestApp, seconds: u64) {
    app.pass(seconds);
    app.lobby().expire_positions().await;
    app.lobby().run_housekeeping().await;
}

async fn without_expiry() -> TestApp {
    TestApp::replacing(SAMPLE, "id = \"Sample\"\nqueue_position_expiry = false\ninlet").await
}

fn error(status: u16, sentence: &str) -> (u16, String) {
    (status, sentence.to_owned())
}

#[actix_web::test]
async fn a_swept_session_is_answered_as_an_ended_one() {
    let app = TestApp::start().await;
    let id = served(&app).await;
    tokens(&app, &id).await;
    let later = app.join("Sample").await;
    pass(&app, 3_600 + 1).await;
    let counters = app.all_counters();
    assert_eq!(body(get(&app, "/private/expired_tokens?event_id=Sample").await).await, json!([id]));
    pass(&app, DAY).await;
    assert_eq!(body(get(&app, "/private/expired_tokens?event_id=Sample").await).await, json!([]));
    assert_eq!(app.lobby().store().session(&"Sample".parse().unwrap(), &id.parse().unwrap()).await.unwrap(), None);
    let answer = said(post(&app, "/api/generate_token", &ticket(&id)).await).await;
    assert_eq!(answer, error(410, "Queue position has expired"));
    let expiry = get(&app, &format!("/api/queue_pos_expiry?event_id=Sample&request_id={id}")).await;
    assert_eq!(said(expiry).await, error(410, "Queue position has expired"));
    let ended = json!({ "event_id": "Sample", "request_id": id, "status": 1 });
    assert_eq!(said(post(&app, "/private/update_session", &ended).await).await.0, 404);
    assert_eq!(app.all_counters(), counters, "what was counted stays counted");
    let place = body(get(&app, &format!("/api/queue_num?event_id=Sample&request_id={later}")).await).await;
    assert_eq!(place["queue_number"], json!(2), "who waits is known however long it takes");
    app.serve("Sample", 1).await;
    tokens(&app, &later).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_ticket_whose_arrival_was_swept_is_expired_not_unknown() {
    let app = TestApp::start().await;
    let id = served(&app).await;
    tokens(&app, &id).await;
    app.pass(10);
    app.join("Sample").await;
    pass(&app, 2 * DAY).await;
    let room = app.lobby().room("Sample").unwrap();
    assert_eq!(room.cache.view().arrivals.len(), 1, "memory forgets as well");
    let place = body(get(&app, &format!("/api/queue_num?event_id=Sample&request_id={id}")).await).await;
    assert_eq!(place["queue_number"], json!(1), "a ticket is its own record");
    let answer = said(post(&app, "/api/generate_token", &ticket(&id)).await).await;
    assert_eq!(answer, error(410, "Queue position has expired"));
    let app = TestApp::in_directory(app.stop().await, "").await;
    let answer = said(post(&app, "/api/generate_token", &ticket(&id)).await).await;
    assert_eq!(answer, error(410, "Queue position has expired"), "after a start as well");
    app.stop().await;
}

#[actix_web::test]
async fn a_used_position_opens_no_second_session_even_if_positions_expire_late_or_never() {
    let late = "id = \"Sample\"\nqueue_position_expiry_period = 604800\ninlet";
    // When all positions before it are used as well, a position is given up.
    let given_up = "Queue position has expired";
    a_used_position_opens_no_second_session(without_expiry().await, "Token corresponding to request id has expired")
        .await;
    a_used_position_opens_no_second_session(TestApp::replacing(SAMPLE, late).await, given_up).await;
}

async fn a_used_position_opens_no_second_session(app: TestApp, in_the_end: &str) {
    let (away, id) = (served(&app).await, served(&app).await);
    tokens(&app, &id).await;
    let opened = app.all_counters()["Sample"].sessions_opened;
    pass(&app, 3_600 + DAY).await;
    let name: EventId = "Sample".parse().unwrap();
    assert_eq!(app.lobby().store().session(&name, &id.parse().unwrap()).await.unwrap(), None);
    for _ in 0..2 {
        let answer = said(post(&app, "/api/generate_token", &ticket(&id)).await).await;
        assert_eq!(answer, error(410, "Token corresponding to request id has expired"));
        assert_eq!(app.all_counters()["Sample"].sessions_opened, opened);
    }
    tokens(&app, &away).await;
    pass(&app, 3_600 + DAY).await;
    for id in [&away, &id] {
        let answer = said(post(&app, "/api/generate_token", &ticket(id)).await).await;
        assert_eq!(answer, error(410, in_the_end));
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_browser_with_a_long_ended_session_joins_again_without_an_explanation() {
    for app in [TestApp::start().await, without_expiry().await] {
        let (mut browser, set) = app.tokens(&[]).await;
        let access = set["access_token"].as_str().unwrap();
        assert_eq!(app.user_info(access).await.status(), StatusCode::OK);
        app.join("Sample").await;
        pass(&app, 2 * DAY).await;
        assert_eq!(app.user_info(access).await.status(), StatusCode::UNAUTHORIZED);
        let page = browser.authorize(&app, &[]).await;
        assert!(page.waits(), "{page:?}");
        assert_eq!(page.position(), 3);
        let fresh = Browser::default().authorize(&app, &[]).await;
        assert_eq!(page.body.matches("notice").count(), fresh.body.matches("notice").count(), "{}", page.body);
        app.stop().await;
    }
}

/// The size of an installation.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    sessions: u64,
    arrivals: u64,
    records: u64,
    used: u64,
    used_bytes: u64,
    pages: u64,
    file: u64,
    log: u64,
    memory: u64,
}

impl Size {
    fn of(data: &Path, room: &Room) -> Self {
        let database = data.join("anteroom.db");
        let connection = Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let ask = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
        let bytes = |name: &str| std::fs::metadata(data.join(name)).map_or(0, |file| file.len());
        Self {
            sessions: ask("SELECT count(*) FROM sessions"),
            arrivals: ask("SELECT count(*) FROM arrivals"),
            records: ask("SELECT count(*) FROM serving_records"),
            used: ask("SELECT count(*) FROM used_positions"),
            used_bytes: ask("SELECT coalesce(sum(length(bits)), 0) FROM used_positions"),
            pages: ask("PRAGMA page_count"),
            file: bytes("anteroom.db"),
            log: bytes("anteroom.db-wal"),
            memory: room.cache.view().arrivals.len() as u64,
        }
    }

    /// The largest of each.
    fn largest(sizes: &[Self]) -> Self {
        let most = |field: fn(&Self) -> u64| sizes.iter().map(field).max().unwrap_or_default();
        Self {
            sessions: most(|size| size.sessions),
            arrivals: most(|size| size.arrivals),
            records: most(|size| size.records),
            used: most(|size| size.used),
            used_bytes: most(|size| size.used_bytes),
            pages: most(|size| size.pages),
            file: most(|size| size.file),
            log: most(|size| size.log),
            memory: most(|size| size.memory),
        }
    }

    /// Whether it is at most another's, except for one growth step of a file.
    fn is_level_with(&self, early: &Self) -> bool {
        let rows = |size: &Self| [size.sessions, size.arrivals, size.records, size.used, size.memory];
        rows(self).into_iter().zip(rows(early)).all(|(late, early)| late <= early)
            && self.pages <= early.pages + 16
            && self.file <= early.file + (512 << 10)
            && self.log <= early.log + (512 << 10)
    }
}

/// Half a day: a visitor joins every half hour, the counter moves, visitors enter, and the background work runs half an
/// hour later.
const VISITORS: u64 = 24;

async fn half_a_day(app: &TestApp, room: &Room, present: impl Fn(u64) -> bool) {
    app.pass(DAY / 2 - 1_800);
    let (store, event, now) = (app.lobby().store(), &room.settings.id, app.lobby().now());
    let came =
        (0..VISITORS).map(|number| store.take_some(event, 1, now - Duration::from_secs(1_800 * (VISITORS - number))));
    let came: Vec<Taken> = join_all(came).await.into_iter().map(Result::unwrap).collect();
    app.lobby().advance(room, i64::try_from(VISITORS).unwrap()).await.unwrap();
    let sessions: Vec<Session> = came
        .iter()
        .filter(|taken| present(taken.first.get()))
        .map(|taken| Session {
            event: event.clone(),
            generation: Generation(0),
            request_id: RequestId::from_bytes(u128::from(taken.first.get()).to_be_bytes()),
            position: taken.first,
            opened_at: now,
            expires_at: now + Duration::from_secs(3_600),
            status: SessionStatus::Active,
            issuer: None,
            opener: None,
        })
        .collect();
    for opened in join_all(sessions.iter().map(|session| store.open_session(session))).await {
        assert!(opened.unwrap().inserted);
    }
    pass(app, 1_800).await;
}

/// A year of it: the size every ten days.
async fn year(app: &TestApp, present: impl Fn(u64) -> bool) -> Vec<Size> {
    let room = app.lobby().room("Sample").unwrap();
    let mut sizes = Vec::new();
    for half_day in 1..=730 {
        half_a_day(app, room, &present).await;
        if half_day % 20 == 0 {
            sizes.push(Size::of(&app.directory.path().join("data"), room));
        }
    }
    let counters = counters(app).await;
    assert_eq!((counters.queue, counters.serving), (730 * VISITORS, 730 * VISITORS), "the year was one");
    sizes
}

/// The counters in the store: the cache is updated a moment later.
async fn counters(app: &TestApp) -> Counters {
    app.lobby().store().counters(&"Sample".parse().unwrap()).await.unwrap()
}

#[actix_web::test]
async fn a_year_of_an_open_event_occupies_no_more_than_its_first_months() {
    let app = TestApp::start().await;
    // Every tenth visitor does not enter.
    let sizes = year(&app, |position| position % 10 != 0).await;
    let (early, late) = (Size::largest(&sizes[1..9]), Size::largest(&sizes[18..]));
    assert!(late.is_level_with(&early), "{early:?}\n{late:?}");
    assert!(late.sessions < 200 && late.arrivals < 200 && late.memory < 200, "{late:?}");
    let counters = counters(&app).await;
    assert_eq!(counters.sessions_opened + counters.expired_positions, counters.queue);
    assert_eq!(counters.waiting(), 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_year_without_expiry_occupies_constant_space_if_every_visitor_enters() {
    let app = without_expiry().await;
    let sizes = year(&app, |_| true).await;
    let (early, late) = (Size::largest(&sizes[1..9]), Size::largest(&sizes[18..]));
    assert!(late.is_level_with(&early), "{early:?}\n{late:?}");
    app.stop().await;
}

#[actix_web::test]
async fn a_year_without_expiry_keeps_a_bit_per_entry_and_a_row_per_arrival_time() {
    let app = without_expiry().await;
    let sizes = year(&app, |position| position % 10 != 0).await;
    let (early, late) = (Size::largest(&sizes[1..9]), Size::largest(&sizes[18..]));
    assert!(late.sessions <= early.sessions, "{early:?}\n{late:?}");
    let positions = 730 * VISITORS;
    assert!(late.used_bytes <= positions / 8 + 512, "{late:?}");
    assert!(late.arrivals <= positions && late.memory <= positions && late.records <= 730, "{late:?}");
    // All of it, with what SQLite needs around it: 40 bytes a position.
    assert!((late.pages - early.pages) * 4_096 <= positions * 40, "{early:?}\n{late:?}");
    let counters = counters(&app).await;
    assert_eq!(counters.expired_positions, 0);
    assert_eq!(counters.waiting(), positions / 10, "who stays away may still come");
    app.stop().await;
}
