//! The syntax of proxy headers: `Forwarded` (RFC 7239 §4) and the names of nodes (§6). Which proxies are trusted is not
//! known here.
//!
//! Lists are read from the right, and only as far as the caller asks: each proxy appends to the list that it received,
//! so the left part is untrusted and may contain an unclosed quote that swallows the rest.

use std::borrow::Cow;
use std::net::IpAddr;

use actix_web::http::header::HeaderValue;

/// The element that one proxy added.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Element<'a> {
    /// `for`: the client of that proxy.
    pub node: Option<Cow<'a, str>>,
    /// `host`: the requested host.
    pub host: Option<Cow<'a, str>>,
    /// `proto`: the scheme.
    pub proto: Option<Cow<'a, str>>,
}

/// The elements of these lines of `Forwarded`, the last one first; `None` for one that is malformed.
pub fn elements<'a>(lines: &[&'a HeaderValue]) -> impl Iterator<Item = Option<Element<'a>>> {
    let elements = lines.iter().rev().flat_map(|line| from_the_right(line.as_bytes(), b','));
    // Empty list elements mean nothing (RFC 9110 §5.6.1.2).
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).map(element)
}

/// The parts between separators outside of quotes, the last one first.
fn from_the_right(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let mut bytes = text.iter().copied().enumerate().rev();
        let found = bytes.find(|&(at, byte)| {
            quoted ^= byte == b'"' && !(quoted && is_escaped(text, at));
            byte == separator && !quoted
        });
        let (left, part) = found.map_or((None, Some(text)), |(at, _)| (text.get(..at), text.get(at + 1..)));
        rest = left;
        part
    })
}

/// Whether an odd number of backslashes precedes this place.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

fn element(text: &[u8]) -> Option<Element<'_>> {
    let mut element = Element::default();
    for pair in from_the_right(text, b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()) {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        let value = plain(value.trim())?;
        let place = match name.trim().to_ascii_lowercase().as_str() {
            "for" => &mut element.node,
            "host" => &mut element.host,
            "proto" => &mut element.proto,
            _ => continue,
        };
        // Each parameter at most once (RFC 7239 §4).
        if place.replace(value).is_some() {
            return None;
        }
    }
    Some(element)
}

/// A token, or the value of a quoted string (RFC 9110 §5.6.4). Some proxies write addresses without the quotes.
fn plain(value: &str) -> Option<Cow<'_, str>> {
    let Some(rest) = value.strip_prefix('"') else {
        return (!value.is_empty() && !value.contains('"')).then_some(Cow::Borrowed(value));
    };
    let inside = rest.strip_suffix('"').filter(|inside| !is_escaped(inside.as_bytes(), inside.len()))?;
    if !inside.contains(['\\', '"']) {
        return Some(Cow::Borrowed(inside));
    }
    let (mut letters, mut text) = (inside.chars(), String::with_capacity(inside.len()));
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.push(letters.next()?),
            '"' => return None,
            letter => text.push(letter),
        }
    }
    Some(Cow::Owned(text))
}

/// The address of a node in the forms that proxies write: bare, with a port (also an obfuscated one), in brackets, in
/// quotes, with a zone. `None` for `unknown`, an obfuscated name and anything else. IPv4 in IPv6 form is returned as
/// IPv4.
pub fn node_address(node: &str) -> Option<IpAddr> {
    let node = node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node);
    let (address, port) = match node.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        // More than one colon is IPv6 without brackets, which has no port.
        None if node.matches(':').count() == 1 => node.split_at(node.find(':')?),
        None => (node, ""),
    };
    let is_port = |port: &str| match port.strip_prefix('_') {
        Some(hidden) => {
            !hidden.is_empty() && hidden.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return None;
    }
    // The zone of a link-local address (RFC 4007 §11) is meaningful to the proxy alone.
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    Some(address.parse::<IpAddr>().ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&[u8]]) -> Vec<Option<[String; 3]>> {
        let lines: Vec<_> = lines.iter().map(|line| HeaderValue::from_bytes(line).unwrap()).collect();
        let lines: Vec<_> = lines.iter().collect();
        let text = |value: Option<Cow<'_, str>>| value.map_or_else(|| "-".to_owned(), Cow::into_owned);
        elements(&lines)
            .map(|element| element.map(|element| [element.node, element.host, element.proto].map(text)))
            .collect()
    }

    #[test]
    fn an_element_is_read_in_each_form_of_the_grammar() {
        for (line, node, host, proto) in [
            ("for=192.0.2.60", "192.0.2.60", "-", "-"),
            ("For=\"[2001:db8::1]:4711\"", "[2001:db8::1]:4711", "-", "-"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60", "-", "http"),
            ("PROTO=https;HOST=shop.example;FOR=_hidden", "_hidden", "shop.example", "https"),
            (" for = 192.0.2.60 ; host = \"shop.example:8443\" ; ", "192.0.2.60", "shop.example:8443", "-"),
            ("for=\"\\1\\9\\2.0.2.60\"", "192.0.2.60", "-", "-"),
            ("for=\"a,b;c=d\\\"\\\\\";host=h", "a,b;c=d\"\\", "h", "-"),
            ("for=unknown;ext=\"for=1\"", "unknown", "-", "-"),
            ("by=x", "-", "-", "-"),
            ("for=[2001:db8::1]", "[2001:db8::1]", "-", "-"),
        ] {
            assert_eq!(read(&[line.as_bytes()]), [Some([node, host, proto].map(str::to_owned))], "{line}");
        }
    }

    #[test]
    fn a_malformed_element_is_reported() {
        for line in [
            "for",
            "for=",
            "for=\"",
            "for=\"a",
            "for=a\"",
            "for=\"a\\\"",
            "for=\"a\"b\"",
            "for=a;for=b",
            "for=a;b",
            "=;for",
        ] {
            assert_eq!(read(&[line.as_bytes()]), [None], "{line}");
        }
        assert_eq!(read(&[b"for=\xfc"]), [None]);
    }

    #[test]
    fn elements_are_read_from_the_right_whatever_precedes_them() {
        let node = |node: &str| Some([node.to_owned(), "-".to_owned(), "-".to_owned()]);
        assert_eq!(read(&[b"for=a, for=b", b"for=c,,for=d,"]), [node("d"), node("c"), node("b"), node("a")]);
        assert_eq!(read(&[b"", b","]), []);
        for before in
            ["for=\"", "for=\"evil", "\"", "\\", "for=\"\\", "for=\"x\\\"", "a=\"b\";for=\"c", "\\\"", "for=\"x\", \""]
        {
            let line = format!("{before}, for=198.51.100.7");
            assert_eq!(read(&[line.as_bytes()]).first(), Some(&node("198.51.100.7")), "{line}");
            let line = format!("{before}, for=\"[2001:db8::7]:80\"");
            assert_eq!(read(&[line.as_bytes()]).first(), Some(&node("[2001:db8::7]:80")), "{line}");
        }
    }

    #[test]
    fn a_node_is_an_address_in_many_forms_or_none() {
        for (node, address) in [
            ("192.0.2.60", "192.0.2.60"),
            ("192.0.2.60:4711", "192.0.2.60"),
            ("192.0.2.60:_port", "192.0.2.60"),
            ("[192.0.2.60]:80", "192.0.2.60"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]:_port", "2001:db8::1"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("::ffff:192.0.2.60", "192.0.2.60"),
            ("::ffff:c000:23c", "192.0.2.60"),
            ("[::ffff:192.0.2.60]:80", "192.0.2.60"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
        ] {
            assert_eq!(node_address(node), address.parse().ok(), "{node}");
        }
        for node in [
            "",
            "unknown",
            "_hidden",
            "_SEVKISEK",
            "localhost",
            "192.0.2.256",
            "192.0.2",
            "0300.0.2.1",
            "192.0.2.60:",
            "192.0.2.60:port",
            "192.0.2.60:65536",
            "192.0.2.60:+80",
            "192.0.2.60:_",
            "192.0.2.60:_a b",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]80",
            "[2001:db8::1]:",
            "[]",
            "\"",
            "192.0.2.60 192.0.2.61",
            "192.0.2.60/24",
        ] {
            assert_eq!(node_address(node), None, "{node}");
        }
    }
}
