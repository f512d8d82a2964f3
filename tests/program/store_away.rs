//! A start while the shared store is away, or refuses: a transient error is waited for, a permanent one ends the start.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::process::Launch;
use crate::start::assert_refused;
use crate::support::Deployment;

/// A fake DynamoDB: it answers every request by the same error, or not at all, until the test changes it.
struct DynamoDb {
    address: SocketAddr,
    error: Arc<Mutex<Option<&'static str>>>,
}

impl DynamoDb {
    /// `error`: the type of the error; `None`: no answer.
    fn answers(error: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = Arc::new(Mutex::new(error));
        let shared = Arc::clone(&error);
        // Ends with the process, as do the threads of its connections.
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let error = Arc::clone(&shared);
                thread::spawn(move || serve(&connection, &error));
            }
        });
        Self { address, error }
    }

    fn now_answers(&self, error: &'static str) {
        *self.error.lock().unwrap() = Some(error);
    }

    /// A node with this DynamoDB, whose Redis is away.
    fn node(&self, deployment: &Deployment) -> Launch {
        deployment
            .serve()
            .with("ANTEROOM_STORE__ENGINE", "distributed")
            .with("ANTEROOM_STORE__REDIS_URL", "redis://127.0.0.1:1")
            .with("ANTEROOM_STORE__DYNAMODB_ENDPOINT", &format!("http://{}", self.address))
            .with("AWS_ACCESS_KEY_ID", "local")
            .with("AWS_SECRET_ACCESS_KEY", "local")
            .with("ANTEROOM_LOG__LEVEL", "info")
    }
}

/// Answers until the connection ends.
fn serve(connection: &TcpStream, error: &Mutex<Option<&'static str>>) {
    let mut reader = BufReader::new(connection);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        if reader.read_exact(&mut vec![0; length]).is_err() {
            return;
        }
        // Without an error, the answer never arrives; the connection stays open.
        let Some(error) = *error.lock().unwrap() else { continue };
        let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{error}","message":"made to fail"}}"#);
        let status = if error == "InternalServerError" { "500 Internal Server Error" } else { "400 Bad Request" };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.0");
        let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_permanent_refusal_of_dynamodb_ends_the_start_at_once() {
    let deployment = Deployment::new();
    for (error, words) in [
        ("ResourceNotFoundException", "there is no such table; `anteroom store init` creates it"),
        ("AccessDeniedException", "AccessDeniedException"),
        ("UnrecognizedClientException", "UnrecognizedClientException"),
        ("ValidationException", "ValidationException"),
    ] {
        let output = DynamoDb::answers(Some(error)).node(&deployment).run();
        assert_refused(&output, 1, &["the store cannot be used: DynamoDB, table anteroom-Documents", words]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("retry_in"), "it is not tried again");
    }
    let dynamodb = DynamoDb::answers(Some("InternalServerError"));
    let nobody = dynamodb.node(&deployment).with("AWS_ACCESS_KEY_ID", "").with("AWS_SECRET_ACCESS_KEY", "");
    let output = nobody.with("AWS_EC2_METADATA_DISABLED", "true").run();
    assert_refused(&output, 1, &["no credentials for AWS were found"]);
}

#[test]
fn a_node_waits_for_a_failing_store_and_refuses_connections_meanwhile() {
    for error in ["InternalServerError", "ThrottlingException", "ProvisionedThroughputExceededException"] {
        let deployment = Deployment::new();
        let dynamodb = DynamoDb::answers(Some(error));
        let mut program = dynamodb.node(&deployment).begin();
        let said = program.logged("the store cannot be opened; not listening until it is");
        assert!(said.contains(error) && said.contains("retry_in"), "{said}");
        let address = said.split_once("address=").unwrap().1.split_whitespace().next().unwrap();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        dynamodb.now_answers("ResourceNotFoundException");
        assert_eq!(program.wait().code(), Some(1));
        assert!(program.log().contains("there is no such table"), "{}", program.log());
    }
}

#[test]
fn a_node_that_waits_for_its_store_exits_at_a_signal() {
    let deployment = Deployment::new();
    for signal in ["TERM", "INT"] {
        let mut program = DynamoDb::answers(Some("InternalServerError")).node(&deployment).begin();
        program.logged("the store cannot be opened");
        program.signal(signal);
        assert_eq!(program.wait().code(), Some(0), "{}", program.log());
        assert!(program.log().contains("stopped before serving"), "{}", program.log());
    }
    // Even while a request is pending.
    let mut program = DynamoDb::answers(None).node(&deployment).begin();
    program.logged("the store cannot be opened");
    assert!(program.log().contains("no answer in time"), "{}", program.log());
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0), "{}", program.log());
}

#[test]
fn an_address_in_use_is_named_even_if_the_store_is_away() {
    let deployment = Deployment::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let node = DynamoDb::answers(Some("InternalServerError")).node(&deployment).with("ANTEROOM_LISTEN", &address);
    assert_refused(&node.run(), 1, &["cannot listen on", &address, "in use"]);
}
