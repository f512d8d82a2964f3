//! The certificates of SNS: their requirements, and requests for others do not evict a valid one.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::deliver;
use super::peer::{BAD, GOOD, SLOW, Sns};
use crate::wire::eventually;

/// A correctly signed message that names the certificate at `path`.
fn naming(sns: &Sns, path: &str) -> Value {
    sns.message("Notification", json!({ "SigningCertURL": sns.url(path) }))
}

/// The path of a certificate that does not exist.
fn missing(number: u32) -> String {
    format!("/SimpleNotificationService-{number:032x}.pem")
}

fn requests_for(sns: &Sns, path: &str) -> usize {
    sns.requests().iter().filter(|asked| *asked == path).count()
}

#[actix_web::test]
async fn a_certificate_must_be_a_single_valid_one() {
    let sns = Sns::start();
    let app = sns.app().await;
    for path in BAD {
        assert_eq!(deliver(&app, &naming(&sns, path)).await.0, 403, "{path}");
    }
    assert_eq!(sns.requests(), BAD, "all of them were looked at");
    assert_eq!(deliver(&app, &naming(&sns, GOOD)).await.0, 200);
    app.pass(25 * 3600);
    let later = json!({ "Timestamp": app.lobby().now().rfc3339() });
    assert_eq!(deliver(&app, &sns.message("Notification", later)).await.0, 403, "it has expired since");
    app.stop().await;
}

#[actix_web::test]
async fn fetches_of_missing_certificates_are_limited() {
    let sns = Sns::start();
    let app = sns.app().await;
    for _ in 0..5 {
        assert_eq!(deliver(&app, &naming(&sns, &missing(0))).await.0, 403);
    }
    assert_eq!(sns.requests(), [missing(0)], "each once");
    for number in 1..anteroom::policy::SNS_FETCHES {
        assert_eq!(deliver(&app, &naming(&sns, &missing(number))).await.0, 403);
    }
    let before = sns.requests().len();
    for number in 100..110 {
        assert_eq!(deliver(&app, &naming(&sns, &missing(number))).await.0, 429, "all of them so often");
    }
    assert_eq!(sns.requests().len(), before);
    app.pass(10);
    assert_eq!(deliver(&app, &naming(&sns, GOOD)).await.0, 200);
    assert_eq!(deliver(&app, &naming(&sns, &missing(0))).await.0, 403);
    assert_eq!(requests_for(&sns, &missing(0)), 2, "it may have come into being");
    app.stop().await;
}

#[actix_web::test]
async fn forged_messages_do_not_evict_a_proven_certificate() {
    let sns = Sns::start();
    let app = sns.app().await;
    assert_eq!(deliver(&app, &naming(&sns, GOOD)).await.0, 200);
    for number in 0..200 {
        if number % 20 == 0 {
            app.pass(10);
        }
        deliver(&app, &naming(&sns, &missing(number))).await;
        // The name of a valid certificate is no proof.
        let mut forged = naming(&sns, GOOD);
        forged["Message"] = "another".into();
        assert_eq!(deliver(&app, &forged).await.0, 403);
    }
    assert_eq!(deliver(&app, &naming(&sns, &missing(999))).await.0, 429, "the budget is spent");
    assert_eq!(deliver(&app, &naming(&sns, GOOD)).await.0, 200);
    assert_eq!(requests_for(&sns, GOOD), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_fetch_delays_only_its_own_messages_and_is_shared() {
    let sns = Sns::start();
    let app = sns.app().await;
    assert_eq!(deliver(&app, &naming(&sns, GOOD)).await.0, 200);
    let slow = naming(&sns, SLOW);
    let waiting = join_all((0..5).map(|_| deliver(&app, &slow)));
    let others = async {
        eventually(async || (requests_for(&sns, SLOW) == 1).then_some(())).await;
        for _ in 0..5 {
            assert_eq!(deliver(&app, &naming(&sns, GOOD)).await.0, 200);
        }
        sns.release();
    };
    let (answers, ()) = join(waiting, others).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert_eq!(requests_for(&sns, SLOW), 1);
    app.stop().await;
}
