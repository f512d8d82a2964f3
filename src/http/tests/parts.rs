//! Connections beyond the visitors' part: asked at once, answered once, and gone.

use super::*;

/// Takes the only connection of visitors, so that every other is beyond their part.
async fn full<T>(then: impl AsyncFnOnce(&Arc<Admission>, &Shutdown) -> T) -> T {
    let (admission, shutdown) = (admission(1, 4), Shutdown::default());
    let (mut visitor, server) = duplex(ROOM);
    let holding = async {
        visitor.write_all(get("/silence").as_bytes()).await.unwrap();
        let mut head = [0; 15];
        visitor.read_exact(&mut head).await.unwrap();
        let done = then(&admission, &shutdown).await;
        drop(visitor);
        done
    };
    tokio::join!(serve_admitted(server, &shutdown, &admission), holding).1
}

#[actix_web::test]
async fn beyond_the_visitors_part_a_head_must_come_within_two_seconds() {
    tokio::time::pause();
    for begun in ["", "GET /private HTTP/1.1\r\n"] {
        let (told, after) = full(async |admission, shutdown| {
            let (mut client, server) = duplex(ROOM);
            let slow = async move {
                client.write_all(begun.as_bytes()).await.unwrap();
                read_to_end(&mut client).await
            };
            let ((ended, after), told) = tokio::join!(serve_admitted(server, shutdown, admission), slow);
            ended.unwrap();
            (told, after)
        })
        .await;
        assert_eq!(told.starts_with("HTTP/1.1 408 "), !begun.is_empty(), "{told}");
        let limit = policy::BRIEF_REQUEST_TIMEOUT;
        assert!(after >= limit && after < limit + Duration::from_millis(100), "{begun:?}: {after:?}");
    }
}

#[actix_web::test]
async fn beyond_the_visitors_part_a_head_that_trickles_is_cut_as_well() {
    tokio::time::pause();
    let after = full(async |admission, shutdown| {
        let (mut client, server) = duplex(ROOM);
        let trickle = async {
            client.write_all(b"GET /private HTTP/1.1\r\n").await.unwrap();
            while client.write_all(b"x: y\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::join!(serve_admitted(server, shutdown, admission), trickle).0.1
    })
    .await;
    // It is refused after two seconds, and what it still sends is passed over for two more.
    assert!(after >= policy::BRIEF_REQUEST_TIMEOUT && after <= policy::BRIEF_REQUEST_TIMEOUT * 3, "{after:?}");
}

#[actix_web::test]
async fn beyond_the_visitors_part_a_body_must_come_within_two_seconds_and_not_be_long() {
    tokio::time::pause();
    for (length, status) in [(5, 200), (6, 408), (policy::MAX_BODY + 6, 413)] {
        let (told, after) = full(async |admission, shutdown| {
            let (mut client, server) = duplex(ROOM);
            let slow = async move {
                let head = format!("POST /private HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\nhello");
                client.write_all(head.as_bytes()).await.unwrap();
                if length > 6 {
                    client.write_all(&vec![b'x'; length - 6]).await.unwrap();
                }
                read_to_end(&mut client).await
            };
            let ((ended, after), told) = tokio::join!(serve_admitted(server, shutdown, admission), slow);
            ended.unwrap();
            (told, after)
        })
        .await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")) && told.contains("connection: close"), "{told}");
        // It is refused after two seconds, and what it still sends is passed over for two more.
        assert!(after <= policy::BRIEF_REQUEST_TIMEOUT * 3, "{length}: {after:?}");
    }
}

#[actix_web::test]
async fn beyond_the_visitors_part_a_body_reaches_the_handler_whole() {
    let told = full(async |admission, shutdown| {
        let (mut client, server) = duplex(ROOM);
        let asking = async {
            client
                .write_all(b"POST /private/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
                .await
                .unwrap();
            for piece in ["5\r\nhello\r\n", "7\r\n, world\r\n", "0\r\n\r\n"] {
                tokio::time::sleep(Duration::from_millis(1)).await;
                client.write_all(piece.as_bytes()).await.unwrap();
            }
            read_to_end(&mut client).await
        };
        tokio::join!(serve_admitted(server, shutdown, admission), asking).1
    })
    .await;
    assert!(told.starts_with("HTTP/1.1 200 ") && told.ends_with("hello, world"), "{told}");
}

#[actix_web::test]
async fn beyond_the_visitors_part_one_request_is_answered() {
    tokio::time::pause();
    for (path, status) in [("/small", 503), ("/private", 200)] {
        let told = full(async |admission, shutdown| {
            let (mut client, server) = duplex(ROOM);
            let asking = async {
                client.write_all(get(path).repeat(2).as_bytes()).await.unwrap();
                client.shutdown().await.unwrap();
                read_to_end(&mut client).await
            };
            tokio::join!(serve_admitted(server, shutdown, admission), asking).1
        })
        .await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")) && told.contains("connection: close"), "{told}");
        assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{told}");
    }
}
