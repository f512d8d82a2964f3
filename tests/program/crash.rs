//! The end under load, by `kill -9` and by SIGTERM: everything answered before is still true after the restart.
//!
//! Callers and visitors send requests at full rate; the end comes after a number of answers, so that it always
//! interrupts many requests, however fast the machine is.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use reqwest::StatusCode;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::support::{ADMIN_KEY, Api, Browser, Deployment, Tokens, text};

/// The number of connections that join through the REST channel, and through logins.
const CALLERS: usize = 24;
const VISITORS: usize = 8;

/// The number of answers after which each run of the program ends.
const LIVES: [usize; 3] = [150, 400, 230];

/// The answers of all runs.
#[derive(Default)]
struct Answered {
    tickets: RefCell<Vec<String>>,
    logins: RefCell<Vec<Tokens>>,
    /// The number of answers in this run.
    count: Cell<usize>,
    enough: Cell<usize>,
    enough_answers: Notify,
}

impl Answered {
    fn one_more(&self) {
        self.count.set(self.count.get() + 1);
        // Exactly once: a second notification would end the next run before it began.
        if self.count.get() == self.enough.get() {
            self.enough_answers.notify_one();
        }
    }
}

/// Joins repeatedly, until the program is gone.
async fn join_on_and_on(api: Api, answered: Rc<Answered>) {
    loop {
        let Ok(answer) = api.join().send().await else { return };
        let status = answer.status();
        // A truncated body is no answer: half a ticket is of no use.
        let Ok(body) = answer.text().await else { return };
        assert_eq!(status, StatusCode::OK, "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        answered.tickets.borrow_mut().push(text(&body, "api_request_id"));
        answered.one_more();
    }
}

/// Logs new visitors in repeatedly, until the program is gone.
async fn log_in_on_and_on(api: Api, answered: Rc<Answered>) {
    while let Ok(tokens) = Browser::default().log_in(&api).await {
        answered.logins.borrow_mut().push(tokens);
        answered.one_more();
    }
}

/// How a run of the program ends.
enum End {
    Kill,
    Term,
}

/// One run of the program: this many callers and visitors, until `enough` answers were given, and then its end.
async fn live(
    deployment: &Deployment,
    (callers, visitors): (usize, usize),
    answered: &Rc<Answered>,
    enough: usize,
    end: End,
) {
    let mut program = deployment.serve().start();
    let api = Api::of(&program);
    answered.count.set(0);
    answered.enough.set(enough);
    let load = LocalSet::new();
    let crowd: Vec<_> = (0..callers + visitors)
        .map(|number| {
            let (api, answered) = (api.clone(), Rc::clone(answered));
            if number < callers {
                load.spawn_local(join_on_and_on(api, answered))
            } else {
                load.spawn_local(log_in_on_and_on(api, answered))
            }
        })
        .collect();
    load.run_until(answered.enough_answers.notified()).await;
    match end {
        End::Kill => program.strike(),
        // The load continues until the signal arrives.
        End::Term => {
            let signal = program.signaller("TERM");
            load.run_until(tokio::task::spawn_blocking(signal)).await.unwrap();
        }
    }
    load.run_until(async {
        for one in crowd {
            one.await.unwrap();
        }
    })
    .await;
    program.wait();
    assert!(answered.count.get() >= enough, "this life was too short");
}

/// Every answered position, each of which must belong to one visitor alone.
async fn known_positions(api: &Api, answered: &Answered) -> BTreeSet<u64> {
    let mut positions = BTreeSet::new();
    let tickets = answered.tickets.borrow().clone();
    for ticket in &tickets {
        let position = api.position(ticket).await;
        assert!(positions.insert(position), "position {position} was given to two");
    }
    let logins = answered.logins.borrow().clone();
    for tokens in &logins {
        let (sub, position) = tokens.who();
        assert!(positions.insert(position), "position {position} was given to two, one of them {sub}");
    }
    positions
}

#[tokio::test]
async fn kill_9_under_load_neither_loses_nor_repeats_an_answered_position() {
    let deployment = Deployment::new();
    let first = deployment.serve().start();
    Api::of(&first).let_in(ADMIN_KEY, 1_000_000).await;
    first.stop();
    let answered = Rc::new(Answered::default());
    let mut lost_at_most = 0;
    for enough in LIVES {
        live(&deployment, (CALLERS, VISITORS), &answered, enough, End::Kill).await;

        let program = deployment.serve().start();
        let api = Api::of(&program);
        let before = known_positions(&api, &answered).await;
        for _ in 0..3 {
            let ticket = api.ticket().await;
            assert!(api.position(&ticket).await > *before.last().unwrap(), "a join after the crash is before others");
            answered.tickets.borrow_mut().push(ticket);
        }
        let positions = known_positions(&api, &answered).await;
        let logins = answered.logins.borrow().clone();
        for tokens in &logins {
            assert_eq!(api.user_info(&tokens.access).await, StatusCode::OK, "a session is lost: {:?}", tokens.who());
        }
        // One position for each connection whose answer did not arrive, and the reservation: twice the joins of its
        // period, so at most twice those of the whole life.
        let in_flight = (CALLERS + VISITORS) as u64;
        let lost_now = in_flight + 2 * (enough as u64 + in_flight);
        lost_at_most += lost_now;
        let lost = positions.last().unwrap() - positions.len() as u64;
        assert!(lost <= lost_at_most, "{lost} positions are lost");
        let gaps = positions.iter().zip(positions.iter().skip(1)).map(|(before, after)| after - before - 1);
        assert!(gaps.max().unwrap() <= lost_now, "a gap is wider than a reservation: {positions:?}");
        program.stop();
    }
    assert!(answered.logins.borrow().len() >= LIVES.len(), "there was no load of logins to speak of");
}

#[tokio::test]
async fn after_sigterm_under_load_every_position_that_was_taken_was_answered() {
    let deployment = Deployment::new();
    let answered = Rc::new(Answered::default());
    for enough in LIVES {
        live(&deployment, (CALLERS, 0), &answered, enough, End::Term).await;
        let program = deployment.serve().start();
        let api = Api::of(&program);
        let ticket = api.ticket().await;
        answered.tickets.borrow_mut().push(ticket);
        let positions = known_positions(&api, &answered).await;
        let all: BTreeSet<u64> = (1..=positions.len() as u64).collect();
        assert_eq!(positions, all);
        program.stop();
    }
}

#[tokio::test]
async fn a_half_finished_login_completes_after_kill_9() {
    let deployment = Deployment::new();
    let program = deployment.serve().start();
    let api = Api::of(&program);
    let (mut waiting, mut entering) = (Browser::default(), Browser::default());
    api.let_in(ADMIN_KEY, 1).await;
    let code = entering.authorize(&api).await.unwrap().code();
    let page = waiting.authorize(&api).await.unwrap();
    assert!(page.waits());
    program.kill();

    let program = deployment.serve().start();
    let api = Api::of(&program);
    assert_eq!(api.redeem(&code).send().await.unwrap().status(), StatusCode::OK, "a code outlives the crash");
    let resume = page.refresh().unwrap();
    assert!(waiting.send(api.get(&resume)).await.unwrap().waits(), "so does a place in line");
    api.let_in(ADMIN_KEY, 1).await;
    let code = waiting.send(api.get(&resume)).await.unwrap().code();
    assert_eq!(api.redeem(&code).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(api.redeem(&code).send().await.unwrap().status(), StatusCode::BAD_REQUEST, "a code is good once");
    program.kill();

    let program = deployment.serve().start();
    let again = Api::of(&program).redeem(&code).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::BAD_REQUEST, "and stays used after a crash");
    program.stop();
}
