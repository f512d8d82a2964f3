//! `anteroom-authorizer` in a simulated Lambda: the test plays Lambda's runtime interface and API Gateway, and a
//! running Anteroom publishes the keys.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Api, Deployment};

const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abc123/prod/GET/cart";
/// Far longer than an answer takes, so that only a missing answer fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The function in its simulated Lambda.
struct Function {
    child: Child,
    events: Sender<Value>,
    answers: Receiver<Value>,
}

impl Function {
    fn start(variables: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let ((events, asked), (answered, answers)) = (channel(), channel());
        thread::spawn(move || {
            let mut connections = listener.incoming().map_while(Result::ok);
            while connections.next().is_some_and(|connection| lambda(connection, &asked, &answered).is_some()) {}
        });
        let child = command(&[("AWS_LAMBDA_RUNTIME_API", &address)]).envs(variables.iter().copied()).spawn().unwrap();
        Self { child, events, answers }
    }

    fn decide(&self, event: Value) -> Value {
        self.events.send(event).unwrap();
        self.answers.recv_timeout(PATIENCE).unwrap()
    }

    fn lets_in(&self, token: &str) -> bool {
        let event = json!({ "type": "TOKEN", "authorizationToken": token, "methodArn": ARN });
        self.decide(event)["policyDocument"]["Statement"][0]["Effect"] == "Allow"
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with Lambda's own variables, and `variables`.
fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anteroom-authorizer"));
    let of_lambda = ["NAME", "MEMORY_SIZE", "VERSION"].map(|name| (format!("AWS_LAMBDA_FUNCTION_{name}"), "128"));
    command.env_clear().envs(of_lambda).envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

/// One request of the function: for the next event, or with an answer. `None` when it or the test has ended.
fn lambda(mut connection: TcpStream, asked: &Receiver<Value>, answered: &Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if let Some((name, value)) = line.split_once(": ") {
            assert!(!name.eq_ignore_ascii_case("transfer-encoding"), "an answer is sent whole");
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let (status, headers, body) = if head.starts_with("GET /2018-06-01/runtime/invocation/next ") {
        let headers = "lambda-runtime-aws-request-id: one\r\nlambda-runtime-deadline-ms: 9999999999999\r\n\
                       lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-west-1:123456789012:function:gate\r\n";
        ("200 OK", headers, asked.recv().ok()?.to_string())
    } else {
        assert!(head.starts_with("POST /2018-06-01/runtime/invocation/one/response "), "{head}");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        answered.send(serde_json::from_slice(&body).unwrap()).ok()?;
        ("202 Accepted", "", String::new())
    };
    let length = body.len();
    let end = format!("content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    write!(connection, "HTTP/1.1 {status}\r\n{headers}{end}").ok()
}

#[tokio::test]
async fn api_gateway_admits_tokens_of_the_running_program_even_after_it_stops() {
    let anteroom = Deployment::new();
    let program = anteroom.serve().start();
    let (_, tokens) = Api::of(&program).log_in().await;
    let (sub, position) = tokens.who();
    let jwks = program.url("/.well-known/jwks.json");
    let variables = [("EVENT_ID", "Sample"), ("ISSUER", "https://queue.example"), ("JWKS_URL", jwks.as_str())];
    let function = Function::start(&variables);
    let bearer = format!("Bearer {}", tokens.access);

    let event = json!({ "type": "TOKEN", "authorizationToken": bearer, "methodArn": ARN });
    let statement = json!({
        "Action": "execute-api:Invoke", "Effect": "Allow",
        "Resource": "arn:aws:execute-api:eu-west-1:123456789012:abc123/*/*/*",
    });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] });
    assert_eq!(function.decide(event), json!({ "principalId": sub, "policyDocument": policy }));
    let event = json!({ "version": "2.0", "type": "REQUEST", "headers": { "authorization": bearer } });
    let simple = function.decide(event);
    assert_eq!((&simple["isAuthorized"], &simple["context"]["queue_position"]), (&json!(true), &json!(position)));

    assert!(!function.lets_in(&tokens.id), "an ID token");
    assert_eq!(function.decide(json!(["nothing", "known"]))["principalId"], "denied");
    program.stop();
    assert!(function.lets_in(&tokens.access), "with the keys that it has");

    let elsewhere = Function::start(&[("EVENT_ID", "Other"), ("ISSUER", "https://queue.example"), variables[2]]);
    assert!(!elsewhere.lets_in(&tokens.access), "without keys every request is denied");
}

#[test]
fn the_authorizer_names_missing_settings_and_does_not_start() {
    let good = [("EVENT_ID", "Sample"), ("ISSUER", "https://queue.example"), ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")];
    for (name, _) in good {
        let others: Vec<_> = good.into_iter().filter(|(other, _)| *other != name).collect();
        let output = command(&others).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("{name} is not set: ")) && !said.contains("panicked"), "{said}");
    }
}
