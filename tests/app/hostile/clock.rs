//! A clock that is five minutes off, or is corrected while visitors wait: no place and no login is lost.

use reqwest::StatusCode;

use crate::steps::token;
use crate::support::{Browser, NOW, TestApp, json};

const FIVE_MINUTES: std::time::Duration = std::time::Duration::from_secs(300);

#[actix_web::test]
async fn a_clock_step_of_five_minutes_loses_no_place_and_no_login() {
    for then in [NOW - FIVE_MINUTES, NOW + FIVE_MINUTES] {
        let app = TestApp::start().await;
        let (mut inside, tokens) = app.tokens(&[]).await;
        let mut waiting = Browser::default();
        let page = waiting.authorize(&app, &[]).await;

        app.clock.set(then);
        assert_eq!(app.user_info(token(&tokens, "access_token")).await.status(), StatusCode::OK);
        inside.authorize(&app, &[("prompt", "none")]).await.code();
        let again = waiting.resume(&app, &page).await;
        assert_eq!(again.position(), page.position());
        let late = Browser::default().authorize(&app, &[]).await;
        assert_eq!(late.position(), page.position() + 1);

        app.serve("Sample", 1).await;
        let code = waiting.resume(&app, &again).await.code();
        let tokens = json(app.redeem(&code, &[]).await).await;
        assert_eq!(app.user_info(token(&tokens, "access_token")).await.status(), StatusCode::OK);
        app.stop().await;
    }
}
