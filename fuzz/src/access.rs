//! Parses a header in another way than the program does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

/// Whether a Basic header holds these credentials, each form-encoded (RFC 6749 §2.3.1).
pub fn holds(header: &str, id: &str, secret: &str) -> bool {
    let Some((_, encoded)) = header.split_once(' ') else { return false };
    let Ok(decoded) = STANDARD.decode(encoded.trim()) else { return false };
    let text = String::from_utf8_lossy(&decoded).into_owned();
    let Some((found_id, found_secret)) = text.split_once(':') else { return false };
    let plain = |text: &str| {
        let text = text.replace('&', "%26").replace('=', "%3D");
        form_urlencoded::parse(text.as_bytes()).map(|(name, _)| name.into_owned()).collect::<String>()
    };
    plain(found_id) == id && plain(found_secret) == secret
}
