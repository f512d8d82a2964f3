//! Rows of DynamoDB: named values, written and read back with an error that names what is wrong with them.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::ambient::Timestamp;
use crate::room::Position;
use crate::store::StoreError;

/// A row, or the key of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Attributes(pub(in super::super) HashMap<String, AttributeValue>);

/// A number as DynamoDB takes it.
pub(in super::super) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

/// A text as DynamoDB takes it.
pub(in super::super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

impl Attributes {
    pub(in super::super) fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub(in super::super) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    #[must_use]
    pub(in super::super) fn with_text(self, name: &str, value: impl Into<String>) -> Self {
        self.with(name, text(value))
    }

    #[must_use]
    pub(in super::super) fn with_number(self, name: &str, value: impl Into<i128>) -> Self {
        self.with(name, number(value))
    }

    #[must_use]
    pub(in super::super) fn with_time(self, name: &str, value: Timestamp) -> Self {
        self.with_number(name, value.as_secs())
    }

    #[must_use]
    pub(in super::super) fn with_bytes(self, name: &str, value: &[u8]) -> Self {
        self.with(name, AttributeValue::B(Blob::new(value)))
    }

    /// Leaves the field out where there is nothing to say.
    #[must_use]
    pub(in super::super) fn with_some(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(in super::super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(in super::super) fn text(&self, name: &str) -> Result<&str, StoreError> {
        self.0.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or_else(|| unreadable(name))
    }

    /// As [`Attributes::text`], to keep.
    pub(in super::super) fn owned_text(&self, name: &str) -> Result<String, StoreError> {
        self.text(name).map(str::to_owned)
    }

    pub(in super::super) fn signed(&self, name: &str) -> Result<i64, StoreError> {
        let found = self.0.get(name).and_then(|value| value.as_n().ok());
        found.and_then(|digits| digits.parse().ok()).ok_or_else(|| unreadable(name))
    }

    pub(in super::super) fn number(&self, name: &str) -> Result<u64, StoreError> {
        u64::try_from(self.signed(name)?).map_err(|_| unreadable(name))
    }

    pub(in super::super) fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.number(name).map(Timestamp::from_secs)
    }

    pub(in super::super) fn position(&self, name: &str) -> Result<Position, StoreError> {
        Position::new(self.number(name)?).ok_or_else(|| unreadable(name))
    }

    pub(in super::super) fn bytes(&self, name: &str) -> Result<&[u8], StoreError> {
        self.0.get(name).and_then(|value| value.as_b().ok()).map(Blob::as_ref).ok_or_else(|| unreadable(name))
    }

    /// What `read` makes of the field, if it is there.
    pub(in super::super) fn maybe<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if self.has(name) { read(self, name).map(Some) } else { Ok(None) }
    }
}

/// The error of a field that is missing, or holds what we never wrote.
pub(in super::super) fn unreadable(name: &str) -> StoreError {
    StoreError::Corrupt(format!("a row's field {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let row =
            Attributes::new().with_text("t", "x").with_number("n", -3).with_bytes("b", b"\0\xff").with_some("o", None);
        assert_eq!((row.text("t"), row.signed("n"), row.bytes("b")), (Ok("x"), Ok(-3), Ok(b"\0\xff".as_slice())));
        assert!(!row.has("o"));
        assert_eq!(row.maybe("o", Attributes::time), Ok(None));
    }

    #[test]
    fn what_nobody_wrote_is_named() {
        let row = Attributes::new().with_number("n", -3).with_text("t", "x");
        for error in [row.number("n").err(), row.number("t").err(), row.number("x").err(), row.position("n").err()] {
            assert!(matches!(error, Some(StoreError::Corrupt(_))), "{error:?}");
        }
    }
}
