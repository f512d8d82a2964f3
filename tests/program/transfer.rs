//! `store export` and `store import`: an event continues elsewhere, or is not imported at all.

use std::fs;
use std::process::Output;

use reqwest::StatusCode;

use crate::support::{ADMIN_KEY, Api, Deployment};

fn said(output: &Output, code: i32) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    complaint
}

fn export(deployment: &Deployment, arguments: &[&str]) -> String {
    let output = deployment.command(&[&["store", "export"], arguments].concat()).run();
    said(&output, 0);
    String::from_utf8(output.stdout).unwrap()
}

/// The outcome of importing `file`.
fn import(deployment: &Deployment, file: &str) -> Output {
    fs::write(deployment.path("import.jsonl"), file).unwrap();
    deployment.command(&["store", "import"]).after("exec < import.jsonl").run()
}

#[tokio::test]
async fn an_imported_event_continues() {
    let here = Deployment::new();
    let program = here.serve().start();
    let api = Api::of(&program);
    let tickets = [api.ticket().await, api.ticket().await, api.ticket().await];
    api.let_in(ADMIN_KEY, 3).await;
    let (_, tokens) = api.log_in().await;
    let busy = here.command(&["store", "export"]).run();
    assert!(said(&busy, 1).contains("is in use by process"));
    program.stop();
    let file = export(&here, &["--with-master-secret"]);
    assert_eq!(export(&here, &[]), without_secret(&file));

    let there = Deployment::new();
    said(&import(&there, &file), 0);
    let program = there.serve().start();
    let api = Api::of(&program);
    assert_eq!(api.position(&tickets[2]).await, 3);
    assert_eq!(api.user_info(&tokens.access).await, StatusCode::OK, "tokens stay good");
    let next = api.ticket().await;
    assert_eq!(api.position(&next).await, tokens.who().1 + 1);
    program.stop();
    // A refused import changes nothing: the service runs as before.
    let cut = &file[..file.find(r#"{"is":"end""#).unwrap()];
    for refused in [&file, cut, &without_secret(&file), &export(&there, &[])] {
        assert!(said(&import(&there, refused), 1).contains("has begun here already"));
    }
    let program = there.serve().start();
    assert_eq!(Api::of(&program).position(&next).await, tokens.who().1 + 1);
    program.stop();
}

/// The same file without its second line, which its last line counts.
fn without_secret(file: &str) -> String {
    let mut lines: Vec<String> = file.lines().map(str::to_owned).collect();
    assert!(lines[1].contains("master_secret"));
    lines.remove(1);
    let count = lines.len() - 1;
    *lines.last_mut().unwrap() = format!(r#"{{"is":"end","lines":{count}}}"#);
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn an_incomplete_file_imports_no_event() {
    let here = Deployment::new();
    let program = here.serve().start();
    let ticket = Api::of(&program).ticket().await;
    program.stop();
    let file = export(&here, &["--with-master-secret"]);
    let there = Deployment::new();
    let end = file.find(r#"{"is":"end""#).unwrap();
    let skipped = file.replacen(file.lines().nth(2).unwrap(), "", 1).replace("\n\n", "\n");
    for (broken, complaint) in [
        (&file[..end], "the file is not whole"),
        (&file[..end - 3], "is not understood"),
        (skipped.as_str(), "lines before it are missing"),
        (&file[file.find('\n').unwrap() + 1..], "an export begins otherwise"),
        (&format!("{file}{{}}\n"), "is not understood"),
        (&file.replacen("\"format\":1", "\"format\":2", 1), "another version wrote it"),
        ("", "the file is not whole"),
    ] {
        let actual = said(&import(&there, broken), 1);
        assert!(actual.contains(complaint), "{complaint}: {actual}");
        assert_eq!(actual.lines().count(), 1, "{actual}");
    }
    let other = Deployment::new();
    other.serve().start().stop();
    assert!(said(&import(&other, &file), 1).contains("another master secret"));
    other.serve().start().stop();
    let without = without_secret(&file);
    let foreign = Deployment::new();
    fs::create_dir(foreign.path("data")).unwrap();
    fs::write(foreign.path("data/master-secret"), "07".repeat(32)).unwrap();
    assert!(said(&import(&foreign, &without), 1).contains("not the one of the file"));
    assert!(said(&import(&Deployment::new(), &without), 1).contains("neither in the file nor here"));
    assert!(said(&there.serve().run(), 1).contains("was broken off"));
    said(&import(&there, &file), 0);
    let program = there.serve().start();
    assert_eq!(Api::of(&program).position(&ticket).await, 1);
}
