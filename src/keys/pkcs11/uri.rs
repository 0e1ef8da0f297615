//! `pkcs11:` URIs, RFC 7512: which module, which token, which key, and where its PIN is.
//!
//! Attributes that are not listed here are refused rather than ignored: ignoring one could pick another key.

use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::keys::KeyError;
use crate::keys::uri::{path, variable};

/// Bytes of a URI, at most. The longest attributes of a token and a key make some 500.
const MAX_URI: usize = 4_096;

/// A key on a token. What is absent matches everything; together they must fit one token and one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenUri {
    text: String,
    pub(super) module: Option<Module>,
    pub(super) token: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) slot: Option<u64>,
    pub(super) object: Option<String>,
    pub(super) id: Option<Vec<u8>>,
    pub(super) public_only: bool,
    pub(super) pin: Option<PinSource>,
}

/// Which library talks to the token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Module {
    /// The file.
    Path(PathBuf),
    /// Its name without `lib` and ending, to be looked for where systems keep such files.
    Name(String),
}

/// Where the PIN is read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum PinSource {
    /// A file with the PIN in its one line.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl TokenUri {
    /// The URI as it was given, without its scheme.
    pub(in crate::keys) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the URI itself says which library is to be loaded.
    pub(in crate::keys) fn names_module(&self) -> bool {
        self.module.is_some()
    }

    /// The same without what says which library is to be loaded.
    pub(in crate::keys) fn without_module(&self) -> Self {
        let (path, query) = self.text.split_once('?').unwrap_or((&self.text, ""));
        let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("module-")).collect();
        let query = kept.join("&");
        let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        Self { text, module: None, ..self.clone() }
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), KeyError> {
        match name {
            "token" => once(&mut self.token, text(value)?),
            "manufacturer" => once(&mut self.manufacturer, text(value)?),
            "model" => once(&mut self.model, text(value)?),
            "serial" => once(&mut self.serial, text(value)?),
            "slot-id" => once(&mut self.slot, value.parse().map_err(|_| refused("slot-id is not a number"))?),
            "object" => once(&mut self.object, text(value)?),
            "id" => once(&mut self.id, bytes(value)?),
            "type" if matches!(value, "private" | "public") => {
                self.public_only = value == "public";
                Ok(())
            }
            "type" => Err(refused("type is neither private nor public")),
            _ => Err(refused("an attribute before the question mark is not known here")),
        }
    }

    fn take_query(&mut self, name: &str, value: &str) -> Result<(), KeyError> {
        match name {
            "module-path" => once(&mut self.module, Module::Path(path("pkcs11", &text(value)?)?)),
            "module-name" => {
                let name = text(value)?;
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
                if !name.chars().all(plain) || name.starts_with('.') {
                    return Err(refused("module-name is not the bare name of a module"));
                }
                once(&mut self.module, Module::Name(name))
            }
            "pin-source" => once(&mut self.pin, pin_source(&text(value)?)?),
            "pin-value" => Err(refused(
                "pin-value would put the PIN into process lists and shell histories; use pin-source, \
                 WHEELSEAL_PIN or the prompt",
            )),
            _ => Err(refused("an attribute after the question mark is not known here")),
        }
    }
}

impl FromStr for TokenUri {
    type Err = KeyError;

    /// Reads what follows `pkcs11:`.
    fn from_str(given: &str) -> Result<Self, KeyError> {
        if given.len() > MAX_URI {
            return Err(refused("it is too long"));
        }
        if given.contains("-----") || given.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refused("it has spaces or control characters, or is a key"));
        }
        let (path, query) = given.split_once('?').unwrap_or((given, ""));
        let mut uri = Self { text: given.to_owned(), ..Self::default() };
        for (name, value) in attributes(path, ';')? {
            uri.take(name, value)?;
        }
        for (name, value) in attributes(query, '&')? {
            uri.take_query(name, value)?;
        }
        Ok(uri)
    }
}

fn refused(reason: &'static str) -> KeyError {
    KeyError::BadUri { scheme: "pkcs11", reason }
}

fn attributes(part: &str, separator: char) -> Result<Vec<(&str, &str)>, KeyError> {
    let pairs = part.split(separator).filter(|_| !part.is_empty());
    let pair = |text: &'static str| move || refused(text);
    pairs.map(|one| one.split_once('=').ok_or_else(pair("an attribute has no value"))).collect()
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), KeyError> {
    if place.is_some() {
        return Err(refused("an attribute is given twice"));
    }
    *place = Some(value);
    Ok(())
}

fn bytes(value: &str) -> Result<Vec<u8>, KeyError> {
    let whole =
        |rest: &str| rest.get(..2).is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
    if value.is_empty() || !value.split('%').skip(1).all(whole) {
        return Err(refused("the value of an attribute is empty, or has a % without two digits"));
    }
    Ok(percent_decode_str(value).collect())
}

fn text(value: &str) -> Result<String, KeyError> {
    let text =
        String::from_utf8(bytes(value)?).map_err(|_| refused("the value of an attribute is no text"))?;
    if text.chars().any(char::is_control) {
        return Err(refused("the value of an attribute has control characters"));
    }
    Ok(text)
}

fn pin_source(text: &str) -> Result<PinSource, KeyError> {
    if let Some(name) = text.strip_prefix("env:") {
        return variable("pkcs11", name).map(PinSource::Env);
    }
    let file = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text);
    if file.starts_with('|') || file.contains(':') {
        return Err(refused("pin-source is neither file:PATH nor env:NAME"));
    }
    path("pkcs11", file).map(PinSource::File)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> TokenUri {
        text.parse().unwrap()
    }

    fn reason(text: &str) -> &'static str {
        match text.parse::<TokenUri>() {
            Err(KeyError::BadUri { scheme: "pkcs11", reason }) => reason,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_attribute_is_read() {
        let uri = parsed(
            "token=My%20token;manufacturer=m;model=o;serial=00ab;slot-id=7;object=root%3b1;id=%01%ffA;type=private\
             ?module-path=/usr/lib/x.so&pin-source=file:/run/pin",
        );
        assert_eq!(uri.token.as_deref(), Some("My token"));
        assert_eq!((uri.manufacturer.as_deref(), uri.model.as_deref()), (Some("m"), Some("o")));
        assert_eq!((uri.serial.as_deref(), uri.slot), (Some("00ab"), Some(7)));
        assert_eq!((uri.object.as_deref(), uri.id), (Some("root;1"), Some(vec![1, 255, b'A'])));
        assert_eq!(uri.module, Some(Module::Path("/usr/lib/x.so".into())));
        assert_eq!(uri.pin, Some(PinSource::File("/run/pin".into())));
        assert!(!uri.public_only && parsed("type=public").public_only);
    }

    #[test]
    fn a_pin_comes_from_a_file_or_a_variable() {
        for (text, wanted) in [
            ("file:///run/pin", PinSource::File("/run/pin".into())),
            ("/run/pin", PinSource::File("/run/pin".into())),
            ("env:PIN_1", PinSource::Env("PIN_1".into())),
        ] {
            assert_eq!(parsed(&format!("?pin-source={text}")).pin, Some(wanted));
        }
        for text in ["|/bin/cat", "https://x/pin", "env:no-name"] {
            assert!(matches!(
                format!("?pin-source={text}").parse::<TokenUri>(),
                Err(KeyError::BadUri { .. })
            ));
        }
    }

    #[test]
    fn a_pin_in_the_uri_is_refused_and_not_repeated() {
        let refused = "object=a?pin-value=98765".parse::<TokenUri>().unwrap_err();
        assert!(
            refused.to_string().contains("process lists")
                && !format!("{refused:?}{refused}").contains("98765")
        );
    }

    #[test]
    fn what_could_mean_another_key_is_refused() {
        assert_eq!(reason("object=a;object=b"), "an attribute is given twice");
        assert_eq!(reason("?module-path=/a&module-name=b"), "an attribute is given twice");
        assert_eq!(reason("objekt=a"), "an attribute before the question mark is not known here");
        assert_eq!(reason("x-vendor=a"), "an attribute before the question mark is not known here");
        assert_eq!(reason("?object=a"), "an attribute after the question mark is not known here");
        assert_eq!(reason("object"), "an attribute has no value");
        assert_eq!(reason("object=a;"), "an attribute has no value");
        assert_eq!(reason("slot-id=-1"), "slot-id is not a number");
        assert_eq!(reason("type=cert"), "type is neither private nor public");
        let value = "the value of an attribute is empty, or has a % without two digits";
        for text in ["object=", "object=a%2", "object=%zz", "id=%"] {
            assert_eq!(reason(text), value);
        }
        assert_eq!(reason("object=%ff"), "the value of an attribute is no text");
        assert_eq!(reason("object=%0a"), "the value of an attribute has control characters");
        assert_eq!(reason("?module-name=../x"), "module-name is not the bare name of a module");
        assert_eq!(reason(&format!("object={}", "a".repeat(MAX_URI))), "it is too long");
    }

    #[test]
    fn the_module_can_be_left_out() {
        let uri = parsed("object=a?module-path=/x.so&pin-source=env:P");
        assert_eq!(uri.without_module(), parsed("object=a?pin-source=env:P"));
        assert_eq!(parsed("object=a?module-name=x").without_module(), parsed("object=a"));
        assert!(uri.names_module() && !uri.without_module().names_module());
    }
}
