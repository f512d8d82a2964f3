//! The error of an AWS call in one line: the SDK's own texts are dumps of whole answers.

use std::error::Error;

use aws_sdk_cloudwatch::error::ProvideErrorMetadata;

use crate::policy;

/// The code and message of AWS; without them, the last error of the chain.
pub(super) fn describe<E: ProvideErrorMetadata + Error>(error: &E) -> String {
    let text = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => {
            let mut last: &dyn Error = error;
            while let Some(source) = last.source() {
                last = source;
            }
            let (whole, last) = (error.to_string(), last.to_string());
            if whole == last { whole } else { format!("{whole}: {last}") }
        }
    };
    one_line(&text)
}

/// `text` on one line of bounded length.
pub(super) fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(policy::MAX_AWS_REASON).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_eventbridge::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_eventbridge::{Client, Config};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// The text for a failed call to `endpoint`.
    async fn said(endpoint: String) -> String {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(crate::aws::http_client())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::for_tests())
            .retry_config(aws_sdk_eventbridge::config::retry::RetryConfig::disabled())
            .endpoint_url(endpoint);
        let error = Client::from_conf(config.build()).list_rules().send().await.unwrap_err();
        describe(&error)
    }

    #[tokio::test]
    async fn an_aws_error_is_its_code_and_message_on_one_line() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let long = "x".repeat(1000);
        let body = format!(r#"{{"__type":"AccessDeniedException","message":"You may\nnot {long}"}}"#);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let head = format!("HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        });
        let said = said(endpoint).await;
        assert!(said.starts_with("AccessDeniedException: You may not xxx"), "{said}");
        assert_eq!(said.len(), policy::MAX_AWS_REASON);
    }

    #[tokio::test]
    async fn a_connection_error_is_described_by_the_end_of_its_chain() {
        let said = said("http://127.0.0.1:1".to_owned()).await;
        assert!(said.contains("refused") && !said.contains('{'), "{said}");
    }
}
