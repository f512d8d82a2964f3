//! TLS: the certificate and its key, read once at start.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

use crate::config::TlsFiles;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, unreadable, or holds no PEM of the right kind.
    #[error("{what} {path}: {reason}", path = path.display())]
    File {
        /// Which setting names it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not fit together, or are of a kind that is not supported.
    #[error("tls.certificate and tls.key cannot be used together: {0}")]
    Unfit(#[from] rustls::Error),
}

/// Reads the files.
pub(super) fn load(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let file_error = |what, path: &PathBuf, error: &pem::Error| TlsError::File {
        what,
        path: path.clone(),
        reason: error.to_string(),
    };
    let of_certificate = |error: pem::Error| file_error("tls.certificate", &files.certificate, &error);
    let chain = CertificateDer::pem_file_iter(&files.certificate).map_err(of_certificate)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(of_certificate)?;
    if chain.is_empty() {
        return Err(of_certificate(pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| file_error("tls.key", &files.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // HTTP/2 has limits of its own to keep (streams, resets, windows): a proxy in front does that.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
