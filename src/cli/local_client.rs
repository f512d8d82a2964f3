//! A client of the Anteroom that runs on this machine: its address, and the certificate to trust.
//!
//! Over TLS it trusts exactly the configured certificate, whatever its name or issuer: what matters is that *this*
//! server answers, not whether browsers trust it. Must not know the purpose of a request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anteroom::config::Endpoints;
use reqwest::{Client, ClientBuilder};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::CliError;

/// The address of the operators' `path` on this machine.
pub(super) fn operators_url(endpoints: &Endpoints, path: &str) -> String {
    // The private address is plain HTTP, whatever `tls` says.
    let (mut address, tls) = match endpoints.private_listen {
        Some(address) => (address, false),
        None => (endpoints.listen, endpoints.tls.is_some()),
    };
    if address.ip().is_unspecified() {
        let loopback: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address = SocketAddr::new(loopback, address.port());
    }
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{address}{}{path}", endpoints.public_url.path_prefix())
}

/// Runs a future to its end.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Runtime(format!("the runtime does not start: {error}")))?;
    runtime.block_on(future)
}

/// The innermost cause: the outer ones only say that a request failed.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A client that trusts `certificate` alone, with a timeout of `patience`.
pub(super) fn client(certificate: Option<&Path>, patience: Duration) -> Result<Client, CliError> {
    let builder = Client::builder().no_proxy().timeout(patience).redirect(reqwest::redirect::Policy::none());
    let builder = match certificate {
        Some(path) => pinned(builder, path)?,
        // Without a configured certificate there is none to trust, and https addresses are refused.
        None => builder.use_preconfigured_tls(tls_config(None)?),
    };
    builder.build().map_err(|error| CliError::Runtime(format!("the HTTP client does not start: {error}")))
}

fn pinned(builder: ClientBuilder, path: &Path) -> Result<ClientBuilder, CliError> {
    let shown = path.display();
    let certificate = CertificateDer::from_pem_file(path)
        .map_err(|error| CliError::Configuration(format!("tls.certificate: {shown} holds no certificate: {error}")))?;
    Ok(builder.use_preconfigured_tls(tls_config(Some(certificate))?))
}

fn tls_config(pinned: Option<CertificateDer<'static>>) -> Result<ClientConfig, CliError> {
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| CliError::Runtime(format!("TLS does not start: {error}")))?;
    let verifier = Arc::new(Pinned { certificate: pinned, provider });
    Ok(versions.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Trusts one certificate, or none.
#[derive(Debug)]
struct Pinned {
    certificate: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificate.as_ref() == Some(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        // `Error::General` carries a text to the operator.
        Err(Error::General("it does not show the configured certificate".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
