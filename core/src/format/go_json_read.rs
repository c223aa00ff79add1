//! The ways in which Go's `encoding/json` reads more kindly than serde does.

use std::{borrow::Cow, fmt};

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Deserializer, de};

/// Reads the key of an object and finds it among known ones, without regard to case as Go does: exactly, else folded.
/// Yields `None` for a key that is not known.
pub(crate) struct KnownKey(pub &'static [&'static str]);

impl<'de> de::DeserializeSeed<'de> for KnownKey {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl de::Visitor<'_> for KnownKey {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: de::Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        let known = |same: fn(&[u8], &str) -> bool| self.0.iter().find(|name| same(key, name)).copied();
        Ok(known(|key, name| key == name.as_bytes()).or_else(|| known(equal_folded)))
    }
}

/// Whether `key` is `name` but for case. Two letters outside of ASCII fold to letters in it: Unicode says so, and Go.
fn equal_folded(key: &[u8], name: &str) -> bool {
    let Ok(key) = std::str::from_utf8(key) else {
        return false;
    };
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => letter.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// A string as Go reads it: what is not Unicode is replaced instead of refused.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GoString(pub String);

impl<'de> Deserialize<'de> for GoString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(StringVisitor(|text: Cow<'_, str>| {
            Ok(GoString(text.into_owned()))
        }))
    }
}

/// Reads a string as [`GoString`] does and hands it to a function without a copy.
pub(crate) struct StringVisitor<F>(pub F);

impl<'de, T, F: FnOnce(Cow<'_, str>) -> Result<T, String>> de::Visitor<'de> for StringVisitor<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<T, E> {
        (self.0)(replace_invalid(text)).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(Cow::Borrowed(text)).map_err(E::custom)
    }
}

/// Replaces what is not UTF-8 by U+FFFD, byte by byte as Go does.
///
/// serde_json passes half of a surrogate pair, which comes from an escape, as three bytes. Go makes one U+FFFD of it.
fn replace_invalid(text: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(text) {
        return Cow::Borrowed(text);
    }
    let mut valid = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(chunk) = rest.utf8_chunks().next() {
        valid.push_str(chunk.valid());
        rest = &rest[chunk.valid().len()..];
        let replaced = match rest {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
            [_, ..] => 1,
            [] => break,
        };
        valid.push(char::REPLACEMENT_CHARACTER);
        rest = &rest[replaced..];
    }
    Cow::Owned(valid)
}

/// Go reads base64 with padding, skips line ends in it, and lets unused bits of the last digit be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Bytes that stand in JSON as base64.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct GoBytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for GoBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(StringVisitor(|text: Cow<'_, str>| {
            let text: Cow<'_, str> = if text.contains(['\r', '\n']) {
                text.replace(['\r', '\n'], "").into()
            } else {
                text
            };
            BASE64
                .decode(text.as_bytes())
                .map(GoBytes)
                .map_err(|error| error.to_string())
        }))
    }
}

/// Reads the value of a field. `null` changes nothing, as in Go, so that an earlier field of this name still counts.
pub(crate) fn read_into<'de, T, A>(map: &mut A, value: &mut T) -> Result<(), A::Error>
where
    T: Deserialize<'de>,
    A: de::MapAccess<'de>,
{
    if let Some(read) = map.next_value()? {
        *value = read;
    }
    Ok(())
}

/// [`read_into`] for text.
pub(crate) fn read_string<'de, A: de::MapAccess<'de>>(
    map: &mut A,
    value: &mut String,
) -> Result<(), A::Error> {
    if let Some(GoString(read)) = map.next_value()? {
        *value = read;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeSeed;

    use super::*;

    #[test]
    fn keys_match_exactly_or_folded() {
        let find = |json: &str| {
            let mut deserializer = serde_json::Deserializer::from_str(json);
            KnownKey(&["size", "links", "Links"])
                .deserialize(&mut deserializer)
                .unwrap()
        };
        assert_eq!(find("\"size\""), Some("size"));
        assert_eq!(find("\"SiZe\""), Some("size"));
        assert_eq!(find("\"Links\""), Some("Links"));
        assert_eq!(find("\"LIN\u{212a}\u{17f}\""), Some("links"));
        assert_eq!(find("\"siz\""), None);
        assert_eq!(find("\"sizé\""), None);
    }

    #[test]
    fn what_is_not_unicode_is_replaced() {
        let read = |json: &[u8]| serde_json::from_slice::<GoString>(json).unwrap().0;
        assert_eq!(read(b"\"a\xff\\u00e9\""), "a\u{fffd}é");
        assert_eq!(read(b"\"\\ud800b\\udcff\\ud83d\\ude00\""), "\u{fffd}b\u{fffd}😀");
        assert_eq!(read(b"\"\xe2\x82\xff\xc3\""), "\u{fffd}".repeat(4));
        assert!(serde_json::from_str::<GoString>("[97]").is_err());
    }

    #[test]
    fn base64_is_read_as_go_reads_it() {
        let read = |text: &str| {
            let json = serde_json::to_string(text).unwrap();
            serde_json::from_str::<GoBytes>(&json)
                .ok()
                .map(|GoBytes(bytes)| bytes)
        };
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(read("/+8="), Some(vec![0xff, 0xef]));
        assert_eq!(read("/+\r\n9="), Some(vec![0xff, 0xef]));
        for refused in ["/+8", "_-8=", "/ +8=", "/+8=="] {
            assert_eq!(read(refused), None, "{refused}");
        }
    }
}
