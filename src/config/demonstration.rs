//! The demonstration: a configuration that works at once, written by a first start without one.
//!
//! It is an ordinary configuration file with comments, meant as the beginning of a real one; its secrets are in files
//! beside it. Each file is created once, atomically, and never rewritten, so that a second start uses the first one's
//! files.

use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::reader::{Read, Section};
use super::{ClientConfig, Config};
use crate::ambient::{Entropy, random};
use crate::oauth::with_chosen_port;
use crate::{durable, policy};

/// `[demo]`: the sample shop that `serve` runs beside the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SampleShop {
    /// The address where it listens; browsers use `http://` and this address.
    pub listen: SocketAddr,
    /// Its client: configured, confidential, and with the shop's callback among its redirect URIs.
    pub client_id: String,
}

impl SampleShop {
    /// The origin that browsers use, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }
}

impl Config {
    /// Replaces port 0 by the port that the system chose for the sample shop, in its own address and in those of its
    /// client. All other addresses stay unchanged.
    pub fn place_shop(&mut self, port: u16) {
        let Some(shop) = self.demo.as_mut().filter(|shop| shop.listen.port() == 0) else { return };
        shop.listen.set_port(port);
        let Some(entry) = self.clients.iter_mut().find(|entry| entry.client.id == shop.client_id) else { return };
        let client = &mut entry.client;
        for uris in [&mut client.redirect_uris, &mut client.post_logout_redirect_uris] {
            *uris = uris.drain(..).map(|uri| uri.with_chosen_port(port)).collect();
        }
        for url in [&mut client.initiate_login_uri, &mut client.client_uri] {
            *url = url.take().map(|url| with_chosen_port(url, port));
        }
    }
}

/// The shop's callback.
const CALLBACK: &str = "/callback";

/// The client of the shop by default.
const SHOP_CLIENT: &str = "Sample";

const TEMPLATE: &str = include_str!("demonstration.toml");

/// The files of a demonstration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Demonstration {
    /// The configuration, to be loaded like any other.
    pub config: PathBuf,
    /// The key to the private API.
    pub admin_key: PathBuf,
    /// The client secret of the sample shop.
    pub client_secret: PathBuf,
}

/// The demonstration cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the demonstration needs to write {}: {source}", path.display())]
pub struct DemonstrationError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the operating system says.
    #[source]
    pub source: io::Error,
}

/// Creates the missing files of the demonstration in `directory`.
///
/// # Errors
///
/// The operating system's error when one cannot be written.
pub fn demonstrate(directory: &Path, entropy: &dyn Entropy) -> Result<Demonstration, DemonstrationError> {
    let files = Demonstration {
        config: directory.join("anteroom.toml"),
        admin_key: directory.join("admin-key"),
        client_secret: directory.join("client-secret"),
    };
    let failed = |path: &Path, source| DemonstrationError { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| failed(directory, error))?;
    let fresh = || format!("{}\n", URL_SAFE_NO_PAD.encode(random::<{ policy::MIN_SECRET_BYTES }>(entropy)));
    // The configuration comes last, so that everything it refers to exists.
    for (path, text) in [(&files.admin_key, fresh()), (&files.client_secret, fresh()), (&files.config, TEMPLATE.into())]
    {
        write_once(path, &text, entropy).map_err(|error| failed(path, error))?;
    }
    Ok(files)
}

/// Creates the file unless it exists; another process that started at the same time may have created it.
fn write_once(path: &Path, text: &str, entropy: &dyn Entropy) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    match durable::create(path, text.as_bytes(), entropy) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

/// `clients` are those of the same configuration, if they are valid.
pub(super) fn read(section: &mut Section<'_>, clients: Option<&[ClientConfig]>) -> Read<SampleShop> {
    let listen = section.required("shop_listen", |value| {
        let listen = value.address()?;
        if listen.ip().is_loopback() {
            Ok(listen)
        } else {
            Err(value.refuse("it must be a loopback address: the shop is a demonstration"))
        }
    });
    let client_id = section.or("shop_client", SHOP_CLIENT.to_owned(), |value| value.text().map(str::to_owned));
    let shop = SampleShop { listen: listen?, client_id: client_id? };
    let Some(clients) = clients else { return Ok(shop) };
    let Some(ClientConfig { client, .. }) = clients.iter().find(|known| known.client.id == shop.client_id) else {
        return Err(section.refuse("shop_client", format!("there is no client {:?}", shop.client_id)));
    };
    if client.is_public() {
        return Err(section.refuse("shop_client", "the shop has a secret, so its client must not be a public one"));
    }
    let callback = format!("{}{CALLBACK}", shop.url());
    if client.redirect(&callback).is_err() {
        let id = &shop.client_id;
        return Err(
            section.refuse("shop_listen", format!("client {id:?} does not have {callback} among its redirect_uris"))
        );
    }
    Ok(shop)
}
