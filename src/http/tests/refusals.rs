//! What is no request that a handler sees: refused, told so, and cut in time.

use super::*;

#[actix_web::test]
async fn a_head_must_come_in_time_on_the_first_and_on_every_further_request() {
    tokio::time::pause();
    for before in [String::new(), get("/small")] {
        let (mut client, server) = duplex(ROOM);
        let trickle = async {
            client.write_all(before.as_bytes()).await.unwrap();
            client.write_all(b"GET /small HTTP/1.1\r\n").await.unwrap();
            // A header every second, for ever.
            while client.write_all(b"x: y\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            read_to_end(&mut client).await
        };
        let shutdown = Shutdown::default();
        let ((_, after), answers) = tokio::join!(serve(server, &shutdown), trickle);
        assert!(answers.contains("HTTP/1.1 408 Request Timeout"), "{answers}");
        assert!(after < policy::HEAD_TIMEOUT + policy::DRAIN_TIMEOUT * 2, "{after:?}");
    }
}

#[actix_web::test]
async fn a_head_that_came_in_time_is_answered_however_late_a_busy_machine_looks_at_it() {
    tokio::time::pause();
    for before in [String::new(), get("/small")] {
        let (mut client, server) = duplex(ROOM);
        let talking = async {
            client.write_all(before.as_bytes()).await.unwrap();
            client.write_all(b"GET /small HTTP/1.1\r\n").await.unwrap();
            tokio::time::sleep(policy::HEAD_TIMEOUT - Duration::from_millis(100)).await;
            client.write_all(b"connection: close\r\nhost: x\r\n\r\n").await.unwrap();
            // The connection is not looked at in between.
            tokio::time::advance(Duration::from_secs(1)).await;
            read_to_end(&mut client).await
        };
        let shutdown = Shutdown::default();
        let (_, answers) = tokio::join!(serve(server, &shutdown), talking);
        assert!(!answers.contains("408") && answers.ends_with("xxx"), "{answers}");
    }
}

#[actix_web::test]
async fn a_head_that_is_too_long_is_refused_and_the_refusal_arrives() {
    let (mut client, server) = duplex(ROOM);
    let talking = async {
        let padding = "x".repeat(policy::MAX_HEAD * 4);
        client.write_all(format!("GET /small HTTP/1.1\r\nhost: x\r\nx: {padding}\r\n\r\n").as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        read_to_end(&mut client).await
    };
    let shutdown = Shutdown::default();
    let (_, answer) = tokio::join!(serve(server, &shutdown), talking);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[actix_web::test]
async fn the_longest_head_is_read_and_one_byte_more_is_refused_however_it_comes() {
    for room in [ROOM, policy::MAX_HEAD * 4] {
        for (beyond, status) in [(0, 200), (1, 431), (policy::MAX_HEAD / 2, 431)] {
            let (mut client, server) = duplex(room);
            let talking = async {
                let head = "GET /small HTTP/1.1\r\nhost: x\r\nx: \r\n\r\n";
                let padding = "x".repeat(policy::MAX_HEAD + beyond - head.len());
                client.write_all(head.replace("x: ", &format!("x: {padding}")).as_bytes()).await.unwrap();
                client.shutdown().await.unwrap();
                read_to_end(&mut client).await
            };
            let shutdown = Shutdown::default();
            let (_, answer) = tokio::join!(serve(server, &shutdown), talking);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{room}, {beyond}: {answer}");
        }
    }
}

/// Sends `requests` and no more; what is answered.
async fn answers(requests: &[u8]) -> String {
    let (mut client, server) = duplex(ROOM);
    let talking = async {
        client.write_all(requests).await.unwrap();
        client.shutdown().await.unwrap();
        read_to_end(&mut client).await
    };
    let shutdown = Shutdown::default();
    let (_, answers) = tokio::join!(serve(server, &shutdown), talking);
    answers
}

#[actix_web::test]
async fn a_refusal_is_whole_whatever_request_came_before_it() {
    for before in
        ["", "HEAD /small HTTP/1.1\r\nhost: x\r\n\r\n", "GET /small HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"]
    {
        let told = answers(format!("{before}nonsense\r\n\r\n").as_bytes()).await;
        let (_, refusal) = told.split_once("HTTP/1.1 400 ").unwrap_or_else(|| panic!("{told}"));
        assert!(refusal.contains("content-length: 7\r\n") && refusal.contains("connection: close\r\n"), "{told}");
        assert!(refusal.ends_with("\r\n\r\nrefused"), "{told}");
    }
}

#[actix_web::test]
async fn a_fragment_in_the_request_line_is_refused_and_may_stand_elsewhere() {
    for (request, status) in [
        ("GET /small#x HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        ("\r\nGET /private#/small HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        ("GET /small?a=%23 HTTP/1.1\r\nhost: x\r\nx: #\r\n\r\n", 200),
        ("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n#", 200),
    ] {
        let answer = answers(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
}

#[actix_web::test]
async fn a_line_that_ends_with_a_line_feed_alone_is_refused_and_bodies_may_have_any() {
    for head in [
        "GET /small HTTP/1.1\nhost: x\n\n",
        "GET /small HTTP/1.1\r\nhost: x\nx: y\r\n\r\n",
        "\nGET /small HTTP/1.1\r\n",
    ] {
        let told = answers(head.as_bytes()).await;
        assert!(told.starts_with("HTTP/1.1 400 "), "{head:?}: {told}");
    }
    let post = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n\n\na\n\n";
    let told = answers(format!("{post}{}", get("/small")).as_bytes()).await;
    assert!(told.contains("\r\n\r\n\n\na\n\nHTTP/1.1 200 OK"), "{told}");
}

#[actix_web::test]
async fn an_old_client_is_sent_a_stream_that_it_understands() {
    let (mut client, server) = duplex(ROOM);
    let reading = async {
        client.write_all(b"GET /news HTTP/1.0\r\n\r\n").await.unwrap();
        let mut start = vec![0; 1024];
        client.read_exact(&mut start).await.unwrap();
        drop(client);
        String::from_utf8(start).unwrap()
    };
    let shutdown = Shutdown::default();
    let (_, start) = tokio::join!(serve(server, &shutdown), reading);
    let (head, body) = start.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK") && !head.contains("transfer-encoding"), "{head}");
    assert!(body.starts_with("data: x\n\ndata: x\n\n"), "{body}");
}

/// As nginx passes on what a page's web socket asks, when it asks whether the site may be entered.
#[actix_web::test]
async fn whoever_asks_for_another_protocol_is_answered_in_this_one_and_nothing_that_follows_is_read() {
    tokio::time::pause();
    for request in [
        "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "GET /echo HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n\r\n",
        "CONNECT /echo HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let (mut client, server) = duplex(ROOM);
        let asking = async move {
            client.write_all(format!("{request}{}", get("/small")).as_bytes()).await.unwrap();
            read_to_end(&mut client).await
        };
        let shutdown = Shutdown::default();
        let ((ended, after), told) = tokio::join!(serve(server, &shutdown), asking);
        ended.unwrap();
        assert!(told.starts_with("HTTP/1.1 200 OK") && told.contains("connection: close"), "{request}: {told}");
        assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{request}: {told}");
        assert!(after < policy::BODY_TIMEOUT, "{request}: {after:?}");
    }
    let with_body = "POST /echo HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\nhello";
    assert!(answers(with_body.as_bytes()).await.starts_with("HTTP/1.1 400 "));
}
