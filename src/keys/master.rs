//! The master secret: the one secret of a deployment, from which every symmetric key is derived.
//!
//! Owns its text form, its file and the derivation. Keys for different purposes are independent (HKDF, RFC 5869), so a
//! purpose needs a name only, and no secret of its own.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::ambient::{Entropy, Secret, random};
use crate::text::unmarked;
use crate::{durable, policy};

/// The minimal length of a master secret, in bytes: the strength of the derived keys.
const MIN_BYTES: usize = 32;

/// The master secret; redacted in `Debug`, zeroed on drop.
#[derive(Clone, Debug)]
pub struct MasterSecret(Secret);

/// Why the master secret cannot be used. No text contains any of the secret.
#[derive(Debug, thiserror::Error)]
pub enum MasterSecretError {
    /// The file is missing or cannot be read.
    #[error("the master secret {path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file cannot be created.
    #[error("the master secret {path} cannot be written: {source}", path = path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// It is neither base64url nor hexadecimal.
    #[error("a master secret is written in base64url or in hexadecimal digits")]
    Malformed,
    /// It has fewer than 32 bytes.
    #[error("a master secret has at least {MIN_BYTES} bytes; this one has {0}")]
    TooShort(usize),
}

/// The origin of a master secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The file existed.
    Loaded,
    /// This call created the file.
    Created,
}

impl MasterSecret {
    /// The secret itself, for other derivations (`room`).
    pub const fn secret(&self) -> &Secret {
        &self.0
    }

    /// A new secret of 32 bytes.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let bytes = Zeroizing::new(random::<MIN_BYTES>(entropy));
        Self(Secret::new(bytes.as_slice()))
    }

    /// Parses a secret: base64url (padding is optional) or hexadecimal digits, at least 32 bytes, surrounded by any
    /// white space. An even number of hexadecimal digits is read as hexadecimal.
    pub fn parse(text: &str) -> Result<Self, MasterSecretError> {
        let text = unmarked(text).trim();
        let bytes = if text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            from_hex(text)
        } else {
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
        };
        let bytes = Zeroizing::new(bytes.ok_or(MasterSecretError::Malformed)?);
        if bytes.len() < MIN_BYTES {
            return Err(MasterSecretError::TooShort(bytes.len()));
        }
        Ok(Self(Secret::new(bytes.as_slice())))
    }

    /// Reads the file at `path`. A file that others may read is accepted with a warning, because an orchestrator may
    /// mount it so.
    pub fn load(path: &Path) -> Result<Self, MasterSecretError> {
        let unreadable = |source| MasterSecretError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o007 != 0 {
            tracing::warn!(path = %path.display(), "every user of this machine may read the master secret");
        }
        // A buffer with enough capacity is never moved, so no copy stays behind.
        let mut text = Zeroizing::new(String::with_capacity(policy::MAX_MASTER_SECRET_FILE as usize + 1));
        file.take(policy::MAX_MASTER_SECRET_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > policy::MAX_MASTER_SECRET_FILE {
            return Err(MasterSecretError::Malformed);
        }
        Self::parse(&text)
    }

    /// Reads the file at `path`, or creates it with a new secret: readable by its owner alone, durable before this
    /// returns, and atomic. If several processes start together, one creates the file and all get its secret; an
    /// existing file is never replaced.
    pub fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<(Self, Origin), MasterSecretError> {
        match Self::load(path) {
            Err(MasterSecretError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return Ok((found?, Origin::Loaded)),
        }
        let secret = Self::generate(entropy);
        match durable::create(path, secret.to_text().as_bytes(), entropy) {
            Ok(()) => Ok((secret, Origin::Created)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((Self::load(path)?, Origin::Loaded)),
            Err(source) => Err(MasterSecretError::Unwritable { path: path.to_owned(), source }),
        }
    }

    /// Its text, which [`MasterSecret::parse`] reads; only for the place where it is stored.
    pub fn to_text(&self) -> Zeroizing<String> {
        // A buffer with enough capacity is never moved, so no copy stays behind.
        let mut text = Zeroizing::new(String::with_capacity(self.0.expose().len() * 2));
        URL_SAFE_NO_PAD.encode_string(self.0.expose(), &mut text);
        text.push('\n');
        text
    }

    /// The key for the purpose `info`: HKDF-SHA-256 (RFC 5869) with an empty salt, because the secret is uniform.
    /// Different purposes give independent keys.
    #[expect(clippy::expect_used, reason = "HKDF-SHA-256 gives up to 8160 bytes; this asks for 32")]
    pub fn derive(&self, info: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        let extracted = Hkdf::<Sha256>::new(None, self.0.expose());
        extracted.expand(info.as_bytes(), key.as_mut_slice()).expect("32 bytes");
        key
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for pair in text.as_bytes().chunks_exact(2) {
        let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
        bytes.push((high << 4 | low) as u8);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ambient::{OsEntropy, SeededEntropy};

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64URL: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn hexadecimal_and_base64url_say_the_same() {
        let expected: Vec<u8> = (0..32).collect();
        for text in [HEX, &HEX.to_uppercase(), BASE64URL, &format!("{BASE64URL}="), &format!("  {HEX}\r\n")] {
            assert_eq!(MasterSecret::parse(text).unwrap().0.expose(), expected, "{text}");
        }
    }

    #[test]
    fn a_weak_or_malformed_secret_is_refused_with_the_reason() {
        for (text, bytes) in [("", 0), (&HEX[2..], 31), (&BASE64URL[..40], 30)] {
            assert!(matches!(MasterSecret::parse(text), Err(MasterSecretError::TooShort(n)) if n == bytes), "{text}");
        }
        for text in ["correct horse battery staple", &format!("{BASE64URL}+"), &HEX.replace('0', "é")] {
            assert!(matches!(MasterSecret::parse(text), Err(MasterSecretError::Malformed)), "{text}");
        }
    }

    #[test]
    fn derivation_agrees_with_an_hkdf_computed_elsewhere() {
        let key = MasterSecret::parse(HEX).unwrap().derive("anteroom/test");
        let expected = "a31acfecf6ea8ed0d74fd67187b53ea91349ee809620af4bc3a0c318c151b142";
        assert_eq!(from_hex(expected).unwrap(), *key);
    }

    #[test]
    fn purposes_have_unrelated_keys_that_do_not_change() {
        let master = MasterSecret::parse(HEX).unwrap();
        assert_eq!(*master.derive("one"), *master.derive("one"));
        assert_ne!(*master.derive("one"), *master.derive("other"));
    }

    #[test]
    fn a_missing_file_is_created_once_and_readable_by_its_owner_alone() {
        let folder = folder();
        let path = folder.path().join("master.key");
        let (made, origin) = MasterSecret::load_or_create(&path, &OsEntropy).unwrap();
        assert_eq!(origin, Origin::Created);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (found, origin) = MasterSecret::load_or_create(&path, &OsEntropy).unwrap();
        assert_eq!(origin, Origin::Loaded);
        assert!(found.0.matches(made.0.expose()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn processes_that_start_together_agree_on_one_secret() {
        let folder = folder();
        let path = folder.path().join("master.key");
        let start = std::sync::Barrier::new(8);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        MasterSecret::load_or_create(&path, &OsEntropy).unwrap()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|(_, origin)| *origin == Origin::Created).count(), 1);
        assert!(outcomes.iter().all(|(secret, _)| secret.0.matches(outcomes[0].0.0.expose())));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_invalid_file_is_an_error_and_stays_unchanged() {
        let folder = folder();
        let path = folder.path().join("master.key");
        for (content, too_short) in [("", true), (&BASE64URL[..20], true), ("not a secret!", false)] {
            fs::write(&path, content).unwrap();
            let error = MasterSecret::load_or_create(&path, &SeededEntropy::new(1)).unwrap_err();
            assert_eq!(matches!(error, MasterSecretError::TooShort(_)), too_short, "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::write(&path, "a".repeat(5000)).unwrap();
        assert!(matches!(MasterSecret::load(&path), Err(MasterSecretError::Malformed)));
    }

    #[test]
    fn an_unreadable_or_unwritable_file_is_reported_with_its_path() {
        let folder = folder();
        let nowhere = folder.path().join("missing").join("master.key");
        let error = MasterSecret::load(&nowhere).unwrap_err();
        assert!(matches!(error, MasterSecretError::Unreadable { .. }));
        assert!(error.to_string().contains("missing/master.key"), "{error}");
        let error = MasterSecret::load_or_create(&nowhere, &OsEntropy).unwrap_err();
        assert!(matches!(error, MasterSecretError::Unwritable { .. }));
        assert!(matches!(MasterSecret::load(folder.path()), Err(MasterSecretError::Unreadable { .. })));
    }

    #[test]
    fn it_is_redacted_in_debug_output() {
        let shown = format!("{:?}", MasterSecret::parse(HEX).unwrap());
        assert_eq!(shown, "MasterSecret([secret])");
    }
}
