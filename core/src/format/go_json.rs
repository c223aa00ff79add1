//! JSON exactly as Go's `encoding/json` writes it.
//!
//! The id of a tree is the hash of its JSON, so a tree is shared with restic only if every byte is the same.
//! `serde_json` escapes fewer characters than Go, hence a writer of our own.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Appends `text` as a JSON string. Each byte that is not part of valid UTF-8 becomes U+FFFD.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        write_escaped(out, chunk.valid());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let length = match byte {
            0..0x20 | b'"' | b'\\' | b'<' | b'>' | b'&' => 1,
            0xe2 if is_line_separator(&bytes[at..]) => 3,
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..at]);
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => write_unicode_escape(out, &bytes[at..]),
        }
        written = at + length;
    }
    out.extend_from_slice(&bytes[written..]);
}

/// U+2028 or U+2029, which JavaScript takes for line ends.
fn is_line_separator(bytes: &[u8]) -> bool {
    matches!(bytes, [0xe2, 0x80, 0xa8 | 0xa9, ..])
}

/// Escapes the first character of `bytes`: an ASCII character or a line separator.
fn write_unicode_escape(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes {
        [0xe2, _, last, ..] => out.extend_from_slice(if *last == 0xa8 { b"\\u2028" } else { b"\\u2029" }),
        [ascii, ..] => {
            out.extend_from_slice(b"\\u00");
            write_hex(out, &[*ascii]);
        }
        [] => {}
    }
}

/// Appends lower-case hexadecimal digits, two for each byte.
pub(crate) fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

pub(crate) fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    // The largest value has 20 digits.
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// Appends `json`, which must be valid, as Go's encoder passes JSON through: without white space, strings escaped for
/// HTML, everything else (numbers, the order of keys, other escapes) as it is.
pub(crate) fn write_compact(out: &mut Vec<u8>, json: &str) {
    let bytes = json.as_bytes();
    let (mut in_string, mut escaped, mut skip) = (false, false, 0);
    for (at, &byte) in bytes.iter().enumerate() {
        if skip > 0 {
            skip -= 1;
        } else if !in_string {
            in_string = byte == b'"';
            if !byte.is_ascii_whitespace() {
                out.push(byte);
            }
        } else if matches!(byte, b'<' | b'>' | b'&') {
            write_unicode_escape(out, &bytes[at..]);
        } else if is_line_separator(&bytes[at..]) {
            write_unicode_escape(out, &bytes[at..]);
            skip = 2;
        } else {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            out.push(byte);
        }
    }
}

/// Writes the fields of one JSON object in the order of the calls.
pub(crate) struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> ObjectWriter<'a> {
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Appends the key; the caller appends exactly one value to what is returned.
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        write_string(self.out, key.as_bytes());
        self.out.push(b':');
        self.out
    }

    pub fn string(&mut self, key: &str, text: &[u8]) {
        write_string(self.key(key), text);
    }

    pub fn string_unless_empty(&mut self, key: &str, text: &[u8]) {
        if !text.is_empty() {
            self.string(key, text);
        }
    }

    pub fn number(&mut self, key: &str, value: u64) {
        write_u64(self.key(key), value);
    }

    pub fn number_unless_zero(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.number(key, value);
        }
    }

    /// `bytes` in hexadecimal.
    pub fn hex(&mut self, key: &str, bytes: &[u8]) {
        write_hex_string(self.key(key), bytes);
    }

    pub fn strings(&mut self, key: &str, texts: &[String]) {
        write_array(self.key(key), texts, |out, text| {
            write_string(out, text.as_bytes())
        });
    }

    pub fn end(self) {
        self.out.push(b'}');
    }
}

pub(crate) fn write_hex_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    write_hex(out, bytes);
    out.push(b'"');
}

pub(crate) fn write_array<T>(out: &mut Vec<u8>, items: &[T], mut write_item: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_item(out, item);
    }
    out.push(b']');
}

pub(crate) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    fn compact(json: &str) -> String {
        let mut out = Vec::new();
        write_compact(&mut out, json);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_in_go() {
        assert_eq!(string(b"a\"\\/b"), r#""a\"\\/b""#);
        assert_eq!(
            string(b"\n\r\t\x08\x0c\x00\x1f\x7f"),
            "\"\\n\\r\\t\\b\\f\\u0000\\u001f\x7f\""
        );
        assert_eq!(string(b"<&>"), r#""\u003c\u0026\u003e""#);
        assert_eq!(
            string("\u{2027}\u{2028}\u{2029}é\u{fffd}".as_bytes()),
            "\"\u{2027}\\u2028\\u2029é\u{fffd}\""
        );
        assert_eq!(
            string(b"\xffa\xe2\x80b\xed\xa0\x80"),
            r#""\ufffda\ufffd\ufffdb\ufffd\ufffd\ufffd""#
        );
    }

    #[test]
    fn compact_json_loses_only_white_space_and_the_danger_in_html() {
        let json = " { \"a <\\\"\\\\\" : [ 1.50 , -0e2 , \"\u{2028} \\u003c\" , true ] }\n";
        assert_eq!(
            compact(json),
            r#"{"a \u003c\"\\":[1.50,-0e2,"\u2028 \u003c",true]}"#
        );
    }

    #[test]
    fn numbers_have_no_limit_below_that_of_the_type() {
        for value in [0, 7, 10, 4_294_967_296, u64::MAX] {
            let mut out = Vec::new();
            write_u64(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn written_strings_read_back(text in ".*") {
            prop_assert_eq!(serde_json::from_str::<String>(&string(text.as_bytes())).unwrap(), text);
        }

        #[test]
        fn any_bytes_become_a_valid_string(bytes: Vec<u8>) {
            let json = string(&bytes);
            prop_assert!(serde_json::from_str::<String>(&json).is_ok());
            // What the encoder escaped stays as it is.
            prop_assert_eq!(compact(&json), json);
        }
    }
}
