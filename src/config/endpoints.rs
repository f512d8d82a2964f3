//! The addresses of a deployment: the part of the configuration that depends on no secret.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::DEFAULT_LISTEN;
use super::public_url::{PublicUrl, Scheme};
use super::reader::{Read, Section};

/// The addresses of a deployment.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The issuer, and the base of all public addresses.
    pub public_url: PublicUrl,
    /// The listening address for visitors and relying parties.
    pub listen: SocketAddr,
    /// The listening address for operators; unset: `listen` serves them too.
    pub private_listen: Option<SocketAddr>,
    /// Whether browsers are told to use https only, if the public URL is https.
    pub hsts: Hsts,
    /// TLS is terminated here; unset: plain HTTP, behind a proxy or on loopback.
    pub tls: Option<TlsFiles>,
}

/// Whether `Strict-Transport-Security` is sent (RFC 6797).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hsts {
    /// With every response, where the public URL is https.
    #[default]
    Sent,
    /// Never: something else on the same host still uses http.
    Off,
}

/// The PEM files of `tls`. The reader does not open them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate, followed by those of its issuers.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

pub(super) fn read(section: &mut Section<'_>) -> Read<Endpoints> {
    let listen = section.or("listen", DEFAULT_LISTEN, |value| value.address());
    let private_listen = section.optional("private_listen", |value| {
        let address = value.address()?;
        let taken = address.port() != 0 && matches!(listen, Ok(public) if public == address);
        if taken { Err(value.refuse("it must not be the address of listen")) } else { Ok(address) }
    });
    let hsts =
        section.or("hsts", Hsts::default(), |value| value.flag().map(|on| if on { Hsts::Sent } else { Hsts::Off }));
    let tls = section.optional("tls", |value| value.section(tls_files));
    let public_url = public_url(section, &listen, &tls);
    Ok(Endpoints { public_url: public_url?, listen: listen?, private_listen: private_listen?, hsts: hsts?, tls: tls? })
}

/// On a loopback address the public URL is the listening address; otherwise it must be configured.
fn public_url(section: &mut Section<'_>, listen: &Read<SocketAddr>, tls: &Read<Option<TlsFiles>>) -> Read<PublicUrl> {
    let serves_tls = matches!(tls, Ok(Some(_)));
    let given = section.optional("public_url", |value| {
        let url = value.parsed(PublicUrl::parse)?;
        let plain = serves_tls && url.scheme() == Scheme::Http;
        if plain { Err(value.refuse("it must be https, because tls is set")) } else { Ok(url) }
    })?;
    let scheme = if serves_tls { "https" } else { "http" };
    match (given, *listen) {
        (Some(url), _) => Ok(url),
        (None, Err(reported)) => Err(reported),
        (None, Ok(address)) if address.ip().is_loopback() => PublicUrl::parse(&default_public_url(scheme, address))
            .map_err(|error| section.refuse("public_url", error.to_string())),
        (None, Ok(_)) => {
            Err(section.refuse("public_url", "it is missing: only on a loopback address does it follow from listen"))
        }
    }
}

fn default_public_url(scheme: &str, address: SocketAddr) -> String {
    match (scheme, address.port()) {
        ("http", 80) | ("https", 443) if address.is_ipv6() => format!("{scheme}://[{}]", address.ip()),
        ("http", 80) | ("https", 443) => format!("{scheme}://{}", address.ip()),
        _ => format!("{scheme}://{address}"),
    }
}

fn tls_files(section: &mut Section<'_>) -> Read<TlsFiles> {
    let certificate = section.required("certificate", |value| value.path());
    let key = section.required("key", |value| value.path());
    Ok(TlsFiles { certificate: certificate?, key: key? })
}
