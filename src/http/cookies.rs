//! Reading the `Cookie` header (RFC 6265 §5.4): the values of one name, whatever stands beside them.
//!
//! Other software of the same host sets cookies too. Bytes that are no UTF-8, a pair without `=` or a broken escape in
//! one of them must not hide ours, so each pair is read alone, as bytes. What a value means is not known here.

use std::borrow::Cow;

use actix_web::http::header::{COOKIE, HeaderMap};
use percent_encoding::percent_decode;

/// The values of the cookies of this name, in the order in which they were sent. A value that is no text is left out.
///
/// The name is compared byte for byte and never unescaped, as `__%48ost-` must not pass for `__Host-`. Values may stand
/// in quotes and have escapes, as servers write them.
pub fn cookie_values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    matching(headers, move |sent| sent == name.as_bytes())
}

/// The same of all cookies whose names begin so.
pub fn cookie_values_beginning<'a>(headers: &'a HeaderMap, prefix: &str) -> impl Iterator<Item = Cow<'a, str>> {
    matching(headers, move |sent| sent.starts_with(prefix.as_bytes()))
}

fn matching<'a>(headers: &'a HeaderMap, is_wanted: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = headers.get_all(COOKIE).flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (sent, value) = pair.split_at(equals);
        let value = value.get(1..).filter(|_| is_wanted(sent.trim_ascii()))?;
        percent_decode(unquoted(value.trim_ascii())).decode_utf8().ok()
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn values(lines: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|line| headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap()));
        cookie_values(&headers, "ours").map(Cow::into_owned).collect()
    }

    #[test]
    fn a_cookie_is_found_whatever_others_contain() {
        let others: [&[u8]; 13] = [
            b"name=M\xfcller",
            b"M\xfcller=1",
            b"\xff\xfe=\xff",
            b"name=%FC",
            b"%FC=1",
            b"name",
            b"=name",
            b"=",
            b"",
            b"a=b=c",
            b"\"",
            b"a=\"b; c\"",
            b"ours2=x; xours=x; OURS=x; o%75rs=x; ours",
        ];
        for other in others {
            let told = String::from_utf8_lossy(other);
            assert_eq!(values(&[other, b"ours=v"]), ["v"], "{told}: an earlier line");
            assert_eq!(values(&[b"ours=v", other]), ["v"], "{told}: a later line");
            assert_eq!(values(&[&[other, b"; ours=v"].concat()]), ["v"], "{told}: before");
            assert_eq!(values(&[&[b"ours=v; ".as_slice(), other].concat()]), ["v"], "{told}: after");
            assert_eq!(values(&[&[b"ours=v;".as_slice(), other, b"; ours=w"].concat()]), ["v", "w"], "{told}: between");
        }
    }

    #[test]
    fn cookies_of_one_family_are_found_in_the_order_in_which_they_were_sent() {
        let mut headers = HeaderMap::new();
        for line in ["ours-b=1; our=x; ours=2", "theirs-ours-a=x; ours-a=3; Ours-a=x"] {
            headers.append(COOKIE, HeaderValue::from_static(line));
        }
        assert_eq!(cookie_values_beginning(&headers, "ours-").collect::<Vec<_>>(), ["1", "3"]);
    }

    #[test]
    fn a_value_is_read_as_servers_write_it_and_left_out_where_it_is_no_text() {
        for (line, value) in [
            (b"ours=v".as_slice(), "v"),
            (b" ours = v ", "v"),
            (b"ours=\"v\"", "v"),
            (b"ours=a%20b", "a b"),
            (b"ours=a=b", "a=b"),
            (b"ours=", ""),
            (b"ours=\"", "\""),
            (b"ours=100%", "100%"),
        ] {
            assert_eq!(values(&[line]), [value]);
        }
        assert!(values(&[b"ours=\xfc", b"ours=%FC", b"x=1"]).is_empty());
        assert_eq!(values(&[b"ours=\xfc; ours=v"]), ["v"]);
    }
}
