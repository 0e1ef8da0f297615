//! Taking a JSON object apart field by field; what is left over is kept, so that nothing signed is lost.

use std::borrow::Cow;

use thiserror::Error;

use super::canonical::{Items, Pairs, Raw};
use super::json::{Json, JsonError, quoted};
use super::path::NameError;

/// Fields this project does not know, kept as they came: sorted by key.
pub type Extra = Vec<(Cow<'static, str>, Json<'static>)>;

/// Why metadata does not have the form of the specification, section 4.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Not JSON that can be signed.
    #[error("not valid JSON: {0}")]
    Json(#[from] JsonError),
    /// A field is absent.
    #[error("{within} has no {field:?}")]
    Missing {
        /// The object.
        within: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field has another form.
    #[error("{field:?} in {within} is {found}, expected {expected}")]
    Wrong {
        /// The object.
        within: &'static str,
        /// The field.
        field: String,
        /// What stands there, shortened.
        found: String,
        /// What the specification wants.
        expected: &'static str,
    },
    /// A role name that cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// An object being taken apart.
pub(super) struct Fields<'a> {
    within: &'static str,
    pairs: Vec<(Cow<'a, str>, Raw<'a>)>,
}

impl<'a> Fields<'a> {
    /// `within` names the object in errors.
    pub(super) fn new(within: &'static str, value: Raw<'a>) -> Result<Self, ParseError> {
        match value.pairs() {
            Some(pairs) => Ok(Self { within, pairs: pairs.collect() }),
            None => Err(wrong(within, within, value, "an object")),
        }
    }

    pub(super) fn optional(&mut self, field: &'static str) -> Option<Raw<'a>> {
        let at = self.pairs.iter().position(|(key, _)| key == field)?;
        Some(self.pairs.remove(at).1)
    }

    pub(super) fn required(&mut self, field: &'static str) -> Result<Raw<'a>, ParseError> {
        self.optional(field).ok_or(ParseError::Missing { within: self.within, field })
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<Cow<'a, str>, ParseError> {
        let value = self.required(field)?;
        value.as_str().ok_or_else(|| self.wrong(field, value, "a string"))
    }

    pub(super) fn boolean(&mut self, field: &'static str) -> Result<bool, ParseError> {
        let value = self.required(field)?;
        value.as_bool().ok_or_else(|| self.wrong(field, value, "true or false"))
    }

    pub(super) fn unsigned(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let value = self.required(field)?;
        value.as_u64().ok_or_else(|| self.wrong(field, value, "an integer from 0 to 2^64 - 1"))
    }

    /// An integer of 1 or more: versions, thresholds.
    pub(super) fn positive(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let value = self.required(field)?;
        let number = value.as_u64().filter(|number| *number > 0);
        number.ok_or_else(|| self.wrong(field, value, "an integer from 1 to 2^64 - 1"))
    }

    pub(super) fn array(&mut self, field: &'static str) -> Result<Items<'a>, ParseError> {
        let value = self.required(field)?;
        value.items().ok_or_else(|| self.wrong(field, value, "an array"))
    }

    pub(super) fn object(&mut self, field: &'static str) -> Result<Pairs<'a>, ParseError> {
        let value = self.required(field)?;
        value.pairs().ok_or_else(|| self.wrong(field, value, "an object"))
    }

    /// An array of strings.
    pub(super) fn strings(&mut self, field: &'static str) -> Result<Vec<String>, ParseError> {
        let value = self.required(field)?;
        self.strings_of(field, value)
    }

    /// The strings of `value`, which stood in `field`.
    pub(super) fn strings_of(&self, field: &'static str, value: Raw<'a>) -> Result<Vec<String>, ParseError> {
        let items = value.items().ok_or_else(|| self.wrong(field, value, "an array"))?;
        let text = |item: Raw<'a>| {
            let text = item.as_str().ok_or_else(|| self.wrong(field, item, "an array of strings"))?;
            Ok(text.into_owned())
        };
        items.map(text).collect()
    }

    pub(super) fn wrong(&self, field: &str, found: Raw<'_>, expected: &'static str) -> ParseError {
        wrong(self.within, field, found, expected)
    }

    /// The same, if the value is at hand in another form: `found` is its kind.
    pub(super) fn differs(&self, field: &str, found: String, expected: &'static str) -> ParseError {
        ParseError::Wrong { within: self.within, field: quoted(field), found, expected }
    }

    /// What nobody asked for.
    pub(super) fn extra(self) -> Extra {
        self.pairs.into_iter().map(|(key, value)| (key.into_owned().into(), value.tree())).collect()
    }
}

fn wrong(within: &'static str, field: &str, found: Raw<'_>, expected: &'static str) -> ParseError {
    ParseError::Wrong { within, field: quoted(field), found: found.kind(), expected }
}
