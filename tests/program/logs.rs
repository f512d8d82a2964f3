//! The log for machines: one JSON object per line, each request with its ID, and no secret.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{ADMIN_KEY, Api, Browser, CLIENT_SECRET, Deployment, text};

#[tokio::test]
async fn a_json_log_names_every_request_and_contains_no_secret() {
    let deployment = Deployment::new();
    let launch = deployment.serve().with("ANTEROOM_LOG__FORMAT", "json").with("ANTEROOM_LOG__LEVEL", "trace");
    let program = launch.start();
    let api = Api::of(&program);

    let mut browser = Browser::default();
    let page = browser.authorize(&api).await.unwrap();
    let flow = page.refresh().unwrap();
    browser.send(api.get(&flow)).await.unwrap();
    api.let_in(ADMIN_KEY, 1).await;
    let code = browser.authorize(&api).await.unwrap().code();
    let tokens = crate::support::object(api.redeem(&code).send().await.unwrap()).await;
    let access = text(&tokens, "access_token");
    assert_eq!(api.user_info(&access).await, StatusCode::OK);
    let ticket = api.ticket().await;
    api.position(&ticket).await;
    // Failures are logged as well: a replayed code, a wrong key, an unreadable body.
    let replayed = api.redeem(&code).send().await.unwrap();
    assert_eq!(replayed.status(), StatusCode::BAD_REQUEST);
    let named = replayed.headers()["x-request-id"].to_str().unwrap().to_owned();
    let wrong = "wrong-key-0123456789-0123456789-01234567";
    let refused = api.get("/private/keys").bearer_auth(wrong).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let secret_body = "not-json-but-secret-0123456789";
    api.post("/api/assign_queue_num", &Value::from(secret_body)).send().await.unwrap();
    let log = program.stop();

    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |route: &str| lines.iter().filter(move |line| line["route"] == route).collect::<Vec<_>>();
    for (route, times) in [("/authorize", 3), ("/authorize/resume", 1), ("/token", 2), ("/private/keys", 1)] {
        let requests = of(route);
        assert_eq!(requests.len(), times, "{route}: {log}");
        for request in requests {
            let id = text(request, "request_id");
            assert_eq!(id.len(), 16, "{request}");
            for member in ["timestamp", "level", "target", "method", "status", "ms", "client"] {
                assert!(!request[member].is_null(), "no {member}: {request}");
            }
            let time = request["ms"].to_string();
            assert!(time.split_once('.').is_none_or(|(_, decimals)| decimals.len() <= 3), "{time}");
        }
    }
    let failed = lines.iter().find(|line| line["request_id"] == named.as_str());
    assert_eq!(failed.unwrap()["status"], 400, "an answer and its line go by one name");

    let cookies: Vec<&str> = browser.cookies.values().map(String::as_str).collect();
    let (id_token, sealed) = (text(&tokens, "id_token"), flow.split_once("flow=").unwrap().1);
    let secrets = [ADMIN_KEY, CLIENT_SECRET, wrong, secret_body, &code, &access, &id_token, &ticket, sealed];
    for secret in secrets.into_iter().chain(cookies) {
        // Half of a secret is a leak as well.
        let half = &secret[secret.len() / 2..];
        assert!(!log.contains(half), "the log contains {secret}:\n{log}");
    }
}

/// Bytes that are not HTTP.
const NONSENSE: [&[u8]; 8] = [
    b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nbad header: 1\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /token HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"POST /token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno length\r\n",
    b"POST /token HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n1",
    b"GET / HTTP/1.1\r\nhost",
];

/// Sends bytes and waits until the program has closed the connection, and so has logged it.
fn send(address: SocketAddr, bytes: &[u8]) {
    let mut connection = TcpStream::connect(address).unwrap();
    // The program may answer and close before it has everything; that is no error here.
    drop(connection.write_all(bytes).and_then(|()| connection.shutdown(Shutdown::Write)));
    drop(connection.read_to_end(&mut Vec::new()));
}

#[test]
fn malformed_requests_do_not_fill_the_log() {
    let deployment = Deployment::new();
    // The debug log still has the entries.
    for (level, seen) in [("info", false), ("debug", true)] {
        let program = deployment.serve().with("ANTEROOM_LOG__LEVEL", level).start();
        NONSENSE.iter().for_each(|bytes| send(program.address, bytes));
        send(program.address, &[b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 200_000]].concat());
        let log = program.stop();
        assert_eq!(log.contains("a request that cannot be read was refused"), seen, "{level}: {log}");
        assert!(seen || !log.contains("ERROR"), "{level}: {log}");
    }
}
