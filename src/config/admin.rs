//! `[admin]`: who may use the private API.

use super::reader::{Read, Section, Unique};
use crate::ambient::Secret;

/// The credentials of the private API; without any, every call is refused.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// Bearer keys, each with its own name.
    pub keys: Vec<AdminKey>,
    /// Key pairs for requests with AWS signatures, each with its own ID.
    pub sigv4: Vec<SigV4Pair>,
}

/// A bearer key.
#[derive(Clone, Debug)]
pub struct AdminKey {
    /// The name of its user, for the log.
    pub name: String,
    /// The key.
    pub key: Secret,
}

/// A key pair of AWS Signature Version 4, which scripts of the old system use.
#[derive(Clone, Debug)]
pub struct SigV4Pair {
    /// The ID of the pair in a request.
    pub access_key_id: String,
    /// The secret that signs.
    pub secret_access_key: Secret,
}

/// The longest access key ID (AWS IAM API Reference, `AccessKey`).
const MAX_ACCESS_KEY_ID: usize = 128;

pub(super) fn read(section: &mut Section<'_>) -> Read<Admin> {
    let mut names = Unique::default();
    let keys = section.tables("keys", |entry| {
        let name = entry.required("name", |value| {
            let name = value.title()?;
            names.claim(value, &name).map(|()| name)
        });
        let key = entry.required("key", |value| value.secret());
        Ok(AdminKey { name: name?, key: key? })
    });
    let mut ids = Unique::default();
    let sigv4 = section.tables("sigv4", |entry| {
        let access_key_id = entry.required("access_key_id", |value| {
            let id = value.parsed(access_key_id)?;
            ids.claim(value, &id).map(|()| id)
        });
        let secret_access_key = entry.required("secret_access_key", |value| value.secret());
        Ok(SigV4Pair { access_key_id: access_key_id?, secret_access_key: secret_access_key? })
    });
    Ok(Admin { keys: keys?, sigv4: sigv4? })
}

fn access_key_id(text: &str) -> Result<String, &'static str> {
    let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let good = word && !text.is_empty() && text.len() <= MAX_ACCESS_KEY_ID;
    if good { Ok(text.to_owned()) } else { Err("it must be 1 to 128 letters, digits and '_'") }
}
