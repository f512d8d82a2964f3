//! A site that redirects its visitors to another origin after the login, as a hosted login does.

use std::sync::OnceLock;

use actix_web::http::header::LOCATION;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use url::form_urlencoded;

use super::chromium::{Chromium, Scripts};
use crate::support::eventually;
use crate::support::program::Anteroom;

/// Starts the site; the address of its callback, and of the other origin.
pub fn site() -> (String, String) {
    // The second origin is known only once the server listens; the first request comes later.
    let shop = Data::new(OnceLock::<String>::new());
    let shared = Data::clone(&shop);
    let server = HttpServer::new(move || {
        let leads_on = web::to(async |shop: Data<OnceLock<String>>| {
            HttpResponse::SeeOther().insert_header((LOCATION, shop.get().unwrap().as_str())).finish()
        });
        App::new().app_data(Data::clone(&shared)).route("/callback", leads_on).route(
            "/shop",
            web::get().to(async || HttpResponse::Ok().content_type("text/html").body("<h1>Arrived</h1>")),
        )
    });
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap().bind("127.0.0.1:0").unwrap();
    let ports: Vec<_> = server.addrs().iter().map(|address| address.port()).collect();
    tokio::spawn(server.run());
    let address = format!("http://localhost:{}/shop", ports[1]);
    shop.set(address.clone()).unwrap();
    (format!("http://127.0.0.1:{}/callback", ports[0]), address)
}

fn login(anteroom: &Anteroom, callback: &str, mode: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", "Sample"), ("redirect_uri", callback), ("response_type", "code")])
        .extend_pairs([("scope", "openid"), ("state", "st4te"), ("response_mode", mode)])
        .finish();
    format!("{}/authorize?{query}", anteroom.issuer)
}

#[tokio::test]
async fn a_callback_may_lead_on_to_another_origin() {
    let Some(chromium) = Chromium::start().await else { return };
    let (callback, shop) = site();
    let button = ("ANTEROOM_EVENT__0__ENTRY", "button");
    for (entry, variables) in [("direct", vec![]), ("button", vec![button])] {
        let anteroom = Anteroom::for_client_with(&callback, &variables).await;
        anteroom.serve(9).await;
        for mode in ["query", "form_post"] {
            for scripts in [Scripts::On, Scripts::Off] {
                let name = format!("{entry}-{mode}-{scripts:?}");
                let visitor = chromium.visitor(&name, scripts).await;
                visitor.open(&login(&anteroom, &callback, mode)).await;
                if entry == "button" {
                    visitor.sees("h1", "It’s your turn").await;
                    visitor.click("main .button").await;
                }
                if (mode, scripts) == ("form_post", Scripts::Off) {
                    visitor.sees("h1", "Taking you to Sample shop").await;
                    visitor.click("main .button").await;
                }
                visitor.sees("h1", "Arrived").await;
                let arrived = async || (visitor.address().await == shop).then_some(());
                eventually(format!("{name} is at the shop"), arrived).await;
                visitor.close().await;
            }
        }
    }
}
