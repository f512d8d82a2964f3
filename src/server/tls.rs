//! TLS: the certificate and its key, read once at start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use zeroize::Zeroizing;

use crate::config::TlsFiles;
use crate::text::without_byte_order_mark;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, unreadable, or has no PEM of the right kind.
    #[error("{what} {path}: {reason}", path = path.display())]
    File {
        /// The setting that names it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// Certificate and key do not match, or are of an unsupported kind.
    #[error("tls.certificate and tls.key cannot be used together: {0}")]
    Unfit(#[from] rustls::Error),
}

/// Reads the files.
pub(super) fn load(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let (certificate, key) = (&files.certificate, &files.key);
    let text = read("tls.certificate", certificate)?;
    let chain = CertificateDer::pem_slice_iter(without_byte_order_mark(&text)).collect::<Result<Vec<_>, _>>();
    let chain = chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
    let chain = chain.map_err(|error| unfit("tls.certificate", certificate, &error))?;
    let text = read("tls.key", key)?;
    let key =
        PrivateKeyDer::from_pem_slice(without_byte_order_mark(&text)).map_err(|error| unfit("tls.key", key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // HTTP/2 needs limits of its own (streams, resets, windows), which a proxy in front enforces.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether TLS can be served from the files.
///
/// # Errors
/// See [`TlsError`].
pub fn check(files: &TlsFiles) -> Result<(), TlsError> {
    load(files).map(drop)
}

fn read(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    fs::read(path).map(Zeroizing::new).map_err(|error| unfit(what, path, &error))
}

fn unfit(what: &'static str, path: &Path, reason: &dyn std::error::Error) -> TlsError {
    TlsError::File { what, path: path.to_owned(), reason: reason.to_string() }
}
