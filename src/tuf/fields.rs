//! Taking a JSON object apart field by field; what is left over is kept, so that nothing signed is lost.

use std::borrow::Cow;

use thiserror::Error;

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
    pairs: Vec<(Cow<'a, str>, Json<'a>)>,
}

impl<'a> Fields<'a> {
    /// `within` names the object in errors.
    pub(super) fn new(within: &'static str, value: Json<'a>) -> Result<Self, ParseError> {
        match value {
            Json::Object(pairs) => Ok(Self { within, pairs }),
            other => Err(wrong(within, within, &other, "an object")),
        }
    }

    pub(super) fn optional(&mut self, field: &'static str) -> Option<Json<'a>> {
        let at = self.pairs.iter().position(|(key, _)| key == field)?;
        Some(self.pairs.remove(at).1)
    }

    pub(super) fn required(&mut self, field: &'static str) -> Result<Json<'a>, ParseError> {
        self.optional(field).ok_or(ParseError::Missing { within: self.within, field })
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<Cow<'a, str>, ParseError> {
        match self.required(field)? {
            Json::Str(text) => Ok(text),
            other => Err(wrong(self.within, field, &other, "a string")),
        }
    }

    pub(super) fn boolean(&mut self, field: &'static str) -> Result<bool, ParseError> {
        match self.required(field)? {
            Json::Bool(value) => Ok(value),
            other => Err(wrong(self.within, field, &other, "true or false")),
        }
    }

    pub(super) fn unsigned(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let value = self.required(field)?;
        value.as_u64().ok_or_else(|| wrong(self.within, field, &value, "an integer from 0 to 2^64 - 1"))
    }

    /// An integer of 1 or more: versions, thresholds.
    pub(super) fn positive(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let value = self.required(field)?;
        let number = value.as_u64().filter(|number| *number > 0);
        number.ok_or_else(|| wrong(self.within, field, &value, "an integer from 1 to 2^64 - 1"))
    }

    pub(super) fn array(&mut self, field: &'static str) -> Result<Vec<Json<'a>>, ParseError> {
        match self.required(field)? {
            Json::Array(items) => Ok(items),
            other => Err(wrong(self.within, field, &other, "an array")),
        }
    }

    pub(super) fn object(
        &mut self,
        field: &'static str,
    ) -> Result<Vec<(Cow<'a, str>, Json<'a>)>, ParseError> {
        match self.required(field)? {
            Json::Object(pairs) => Ok(pairs),
            other => Err(wrong(self.within, field, &other, "an object")),
        }
    }

    /// An array of strings.
    pub(super) fn strings(&mut self, field: &'static str) -> Result<Vec<String>, ParseError> {
        let within = self.within;
        let text = |item| match item {
            Json::Str(text) => Ok(text.into_owned()),
            other => Err(wrong(within, field, &other, "an array of strings")),
        };
        self.array(field)?.into_iter().map(text).collect()
    }

    pub(super) fn wrong(&self, field: &str, found: &Json<'_>, expected: &'static str) -> ParseError {
        wrong(self.within, field, found, expected)
    }

    /// What nobody asked for.
    pub(super) fn extra(self) -> Extra {
        if self.pairs.is_empty() {
            return Vec::new();
        }
        self.pairs.into_iter().map(|(key, value)| (key.into_owned().into(), value.into_owned())).collect()
    }
}

pub(super) fn wrong(
    within: &'static str,
    field: &str,
    found: &Json<'_>,
    expected: &'static str,
) -> ParseError {
    ParseError::Wrong { within, field: quoted(field), found: found.kind(), expected }
}

/// An object of known fields and the extra ones that were read with it.
pub(super) fn object(known: Vec<(&'static str, Json<'static>)>, extra: &Extra) -> Json<'static> {
    let known = known.into_iter().map(|(key, value)| (Cow::Borrowed(key), value));
    Json::object(known.chain(extra.iter().cloned()))
}
