//! Notices across a crash.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::support::{ADMIN_KEY, Api, Deployment};

/// Reads one complete request and answers it; returns its text.
fn answer(mut connection: TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = connection.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let length = text
            .to_lowercase()
            .split_once("content-length: ")
            .map(|(_, rest)| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if count == 0 || (body.is_some() && body >= length) {
            break;
        }
    }
    connection.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
    text
}

#[tokio::test]
async fn notices_from_before_kill_9_are_delivered_after_it() {
    let deployment = Deployment::new();
    // It accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mut config = OpenOptions::new().append(true).open(deployment.path("anteroom.toml")).unwrap();
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    writeln!(config, "[[webhook]]\nname = \"hook\"\nurl = \"http://{address}/\"\nsecret = \"{secret}\"").unwrap();
    let program = deployment.serve().start();
    let api = Api::of(&program);
    for by in [3, 4] {
        api.let_in(ADMIN_KEY, by).await;
    }
    program.kill();
    drop(silent);

    let receiver = TcpListener::bind(address).unwrap();
    let program = deployment.serve().start();
    for details in [r#""previous":0,"current":3"#, r#""previous":3,"current":7"#] {
        let (connection, _) = receiver.accept().unwrap();
        let actual = answer(connection);
        assert!(actual.contains(details), "{actual}");
    }
    program.stop();
}
