//! A signing certificate of SNS, and the requirements on it.

use std::cmp::Ordering;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::x509::X509;

use crate::ambient::Timestamp;

/// A certificate and its key.
pub(super) struct Certificate {
    x509: X509,
    key: PKey<Public>,
}

impl Certificate {
    /// Reads a certificate: a single PEM block, issued to one of `names` if those are known.
    pub(super) fn read(pem: &[u8], names: Option<&[String]>) -> Option<Self> {
        let text = std::str::from_utf8(pem).ok()?.trim();
        let inner = text.strip_prefix("-----BEGIN CERTIFICATE-----")?.strip_suffix("-----END CERTIFICATE-----")?;
        if inner.contains('-') {
            return None;
        }
        let x509 = X509::from_pem(text.as_bytes()).ok()?;
        let key = x509.public_key().ok()?;
        names.is_none_or(|names| is_made_out_to(&x509, names)).then_some(Self { x509, key })
    }

    /// Whether `now` lies in its period of validity.
    pub(super) fn is_valid_at(&self, now: Timestamp) -> bool {
        let now = i64::try_from(now.as_secs()).ok().and_then(|seconds| Asn1Time::from_unix(seconds).ok());
        let compared = |border: &Asn1TimeRef| border.compare(now.as_ref()?).ok();
        let begun = compared(self.x509.not_before()).is_some_and(Ordering::is_le);
        begun && compared(self.x509.not_after()).is_some_and(Ordering::is_ge)
    }

    pub(super) const fn key(&self) -> &PKey<Public> {
        &self.key
    }
}

/// By its common name, as SNS does today, or by an alternative name, as is required elsewhere on the web.
fn is_made_out_to(x509: &X509, names: &[String]) -> bool {
    let is_one = |name: &[u8]| names.iter().any(|known| known.as_bytes() == name);
    let mut common_names = x509.subject_name().entries_by_nid(Nid::COMMONNAME);
    let (first, second) = (common_names.next(), common_names.next());
    let by_common_name = second.is_none() && first.is_some_and(|name| is_one(name.data().as_slice()));
    let alternatives = x509.subject_alt_names();
    let mut alternatives = alternatives.iter().flatten().filter_map(|name| name.dnsname());
    by_common_name || alternatives.any(|name| is_one(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use openssl::hash::MessageDigest;
    use openssl::rsa::Rsa;
    use openssl::x509::X509Name;
    use openssl::x509::extension::SubjectAlternativeName;

    use super::*;

    fn pem(common_names: &[&str]) -> String {
        pem_with(common_names, None)
    }

    fn pem_with(common_names: &[&str], alternative: Option<&str>) -> String {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut name = X509Name::builder().unwrap();
        common_names.iter().for_each(|text| name.append_entry_by_nid(Nid::COMMONNAME, text).unwrap());
        let mut builder = X509::builder().unwrap();
        builder.set_subject_name(&name.build()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(1000).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(2000).unwrap()).unwrap();
        if let Some(alternative) = alternative {
            let extension = SubjectAlternativeName::new().dns(alternative).build(&builder.x509v3_context(None, None));
            builder.append_extension(extension.unwrap()).unwrap();
        }
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
    }

    #[test]
    fn a_certificate_is_a_single_pem_block() {
        let one = pem(&[]);
        let read = |text: &str| Certificate::read(text.as_bytes(), None).is_some();
        assert!(read(&one) && read(one.trim()) && read(&one.replace('\n', "\r\n")));
        let key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        for more in [
            format!("{one}{one}"),
            format!("{one}{key}"),
            format!("{key}{one}"),
            format!("x\n{one}"),
            format!("{one}x"),
        ] {
            assert!(!read(&more), "{more}");
        }
        assert!(!read("") && !read("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
        assert!(!read("-----BEGIN CERTIFICATE----------END CERTIFICATE-----"));
    }

    #[test]
    fn a_certificate_is_issued_to_sns() {
        let names = ["sns.amazonaws.com".to_owned(), "sns-signing.x.amazonaws.com".to_owned()];
        let read = |common_names: &[&str]| Certificate::read(pem(common_names).as_bytes(), Some(&names)).is_some();
        assert!(read(&["sns.amazonaws.com"]) && read(&["sns-signing.x.amazonaws.com"]));
        assert!(!read(&[]) && !read(&["s3.amazonaws.com"]) && !read(&["sns.amazonaws.com", "evil.example"]));
        assert!(!read(&["sns.amazonaws.com.evil.example"]));
        let read = |alternative| {
            let pem = pem_with(&["x"], Some(alternative));
            Certificate::read(pem.as_bytes(), Some(&names)).is_some()
        };
        assert!(read("sns.amazonaws.com") && !read("s3.amazonaws.com"));
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_second_to_its_last() {
        let certificate = Certificate::read(pem(&[]).as_bytes(), None).unwrap();
        let valid = |seconds| certificate.is_valid_at(Timestamp::from_secs(seconds));
        assert_eq!([999, 1000, 2000, 2001].map(valid), [false, true, true, false]);
        assert!(!valid(u64::MAX));
    }
}
