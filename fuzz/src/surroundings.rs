//! Input from operators and proxies: the configuration file and the headers that name a visitor's address.

use std::net::IpAddr;
use std::path::Path;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use anteroom::config::{Config, Environment, Limits, MetricsAccess, is_internal};
use anteroom::web::{RequestOrigin, Site, VisitorAddress};

const SECRET: &str = "secret-0123456789-0123456789-0123456789";

/// A configuration file whose secrets are present.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // The machine's own files in these places do not matter.
    if ["file:", "/dev", "/proc"].iter().any(|word| text.contains(word)) {
        return;
    }
    let names = ["ADMIN", "SECRET", "SHOP_CLIENT_SECRET", "ANTEROOM_ADMIN_KEY", "ANTEROOM_SIGV4_SECRET"];
    let environment: Environment = names.into_iter().map(|name| (name, SECRET)).collect();
    match Config::parse(&text, Path::new("/nowhere/anteroom.toml"), &environment) {
        Ok(config) => {
            assert!(!config.events.is_empty());
            for client in &config.clients {
                assert!(config.events.iter().any(|event| event.id == client.event), "a client of no event");
                assert!(client.client.is_public() || client.client.secret.is_some(), "a client without a secret");
            }
            assert!(!format!("{config:?}").contains(SECRET), "a secret is shown");
        }
        Err(error) => {
            let told = error.to_string();
            assert!(!error.diagnostics().is_empty() && !told.contains(SECRET), "{told}");
        }
    }
}

fn site() -> Site {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Site {
        issuer: String::new(),
        base_path: String::new(),
        https: true,
        hsts: true,
        trusted_proxies: networks(&["10.0.0.0/8", "2001:db8:1::/48"]),
        limits: Limits { exempt: networks(&["192.0.2.0/24"]), ..Limits::default() },
        metrics: MetricsAccess::default(),
    }
}

/// Lines of `X-Forwarded-For`, `Forwarded` and other headers.
pub fn forwarded(data: &[u8]) {
    let site = site();
    let mut headers = HeaderMap::new();
    for line in data.split(|&byte| byte == b'\n') {
        let colon = line.iter().position(|&byte| byte == b':');
        let named = colon.and_then(|at| Some((HeaderName::from_bytes(&line[..at]).ok()?, &line[at + 1..])));
        let (name, value) = named.unwrap_or((HeaderName::from_static("x-forwarded-for"), line));
        if let Ok(value) = HeaderValue::from_bytes(value.trim_ascii()) {
            headers.append(name, value);
        }
    }
    let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    // Only a trusted proxy is believed.
    let stranger = address("198.51.100.7");
    assert_eq!(VisitorAddress::behind(&site, stranger, &headers), VisitorAddress::Known(stranger.unwrap()));
    let colleague = address("192.168.0.1");
    assert_eq!(VisitorAddress::behind(&site, colleague, &headers), VisitorAddress::Unknown { peer: colleague });
    for proxy in ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8:1::1"] {
        let peer = address(proxy);
        let found = VisitorAddress::behind(&site, peer, &headers);
        if let VisitorAddress::Known(visitor) = found {
            assert!(!site.trusted_proxies.iter().any(|network| network.contains(&visitor)), "{visitor} is a proxy");
            assert_eq!(visitor, visitor.to_canonical());
            let limited = found.limited(&site).is_some();
            assert_eq!(limited, !site.limits.exempts(visitor));
        }
        // A proxy's entry counts, whatever precedes it.
        let mut added = headers.clone();
        added.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static("203.0.113.9"));
        let expected = VisitorAddress::Known(address("203.0.113.9").unwrap());
        assert_eq!(VisitorAddress::behind(&site, peer, &added), expected);
        // Even on a line that others have begun, with an unclosed quote.
        let others = headers.get_all("forwarded").last().map_or(b"".as_slice(), |line| line.as_bytes());
        let line = [others, b", for=203.0.113.9;host=\"shop.example\""].concat();
        let mut added = HeaderMap::new();
        added.insert(HeaderName::from_static("forwarded"), HeaderValue::from_bytes(&line).unwrap());
        let origin = RequestOrigin::behind(&site.trusted_proxies, peer, &added);
        assert_eq!((origin.visitor, origin.host.as_deref()), (expected, Some("shop.example")));
    }
    assert!(is_internal(colleague.unwrap()));
}
