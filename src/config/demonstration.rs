//! The demonstration: a configuration that works at once, written for whoever starts without one.
//!
//! It is an ordinary configuration file with comments, meant as the beginning of a real one, and its secrets stand
//! in files of their own beside it. Each file is made once, whole or not at all, and never written again, so that
//! a second start finds what the first one left.

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
    /// Where it listens; browsers reach it at `http://` and this address.
    pub listen: SocketAddr,
    /// The client that it is: configured, confidential, and with the shop's callback among its redirect URIs.
    pub client_id: String,
}

impl SampleShop {
    /// The address that browsers reach it at, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }
}

impl Config {
    /// Takes over the port that the system chose for the sample shop, if it was to choose one: with the shop, the
    /// addresses of its client that name port 0 move there. All others stay as they are.
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

/// Where the shop takes the answer to its login requests.
const CALLBACK: &str = "/callback";

/// The client that the shop is, unless it is said otherwise.
const SHOP_CLIENT: &str = "Sample";

const TEMPLATE: &str = include_str!("demonstration.toml");

/// The files of a demonstration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Demonstration {
    /// The configuration, to be loaded like any other.
    pub config: PathBuf,
    /// The key to the private API.
    pub admin_key: PathBuf,
    /// The secret of the sample shop.
    pub client_secret: PathBuf,
}

/// A demonstration that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the demonstration needs to write {}: {source}", path.display())]
pub struct DemonstrationError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the operating system says.
    #[source]
    pub source: io::Error,
}

/// Makes those files of the demonstration in `directory` that are not there yet.
///
/// # Errors
///
/// What the operating system says when one cannot be written.
pub fn demonstrate(directory: &Path, entropy: &dyn Entropy) -> Result<Demonstration, DemonstrationError> {
    let files = Demonstration {
        config: directory.join("anteroom.toml"),
        admin_key: directory.join("admin-key"),
        client_secret: directory.join("client-secret"),
    };
    let failed = |path: &Path, source| DemonstrationError { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| failed(directory, error))?;
    let fresh = || format!("{}\n", URL_SAFE_NO_PAD.encode(random::<{ policy::MIN_SECRET_BYTES }>(entropy)));
    // The configuration comes last: once it is there, what it refers to is there.
    for (path, text) in [(&files.admin_key, fresh()), (&files.client_secret, fresh()), (&files.config, TEMPLATE.into())]
    {
        write_once(path, &text, entropy).map_err(|error| failed(path, error))?;
    }
    Ok(files)
}

/// Makes the file unless it is there; another process that started at the same time may have been faster.
fn write_once(path: &Path, text: &str, entropy: &dyn Entropy) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    match durable::create(path, text.as_bytes(), entropy) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

/// `clients` are those of the same configuration, unless something is wrong with them.
pub(super) fn read(section: &mut Section<'_>, clients: Option<&[ClientConfig]>) -> Read<SampleShop> {
    let listen = section.required("shop_listen", |found| {
        let listen = found.address()?;
        if listen.ip().is_loopback() {
            Ok(listen)
        } else {
            Err(found.refuse("it must be a loopback address: the shop is a demonstration"))
        }
    });
    let client_id = section.or("shop_client", SHOP_CLIENT.to_owned(), |found| found.text().map(str::to_owned));
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
