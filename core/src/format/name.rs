//! How names of files stand in trees: the inside of a Go string literal.
//!
//! Names are bytes, JSON holds text only; restic bridges that with Go's `strconv.Quote`. The literal then becomes a JSON
//! string, which is another layer and not done here.

use super::{FormatError, go_json::write_hex, printable_ranges::PRINTABLE_BORDERS};

/// The literal of `name`, without the quotation marks around it.
///
/// What counts as printable decides the bytes of the tree but not its meaning: [`unquote`] reads either.
pub fn quote(name: &[u8]) -> String {
    let mut literal = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            write_character(&mut literal, character);
        }
        for byte in chunk.invalid() {
            literal.extend_from_slice(b"\\x");
            write_hex(&mut literal, &[*byte]);
        }
    }
    String::from_utf8(literal).expect("escapes are ASCII and everything else is copied by whole characters")
}

fn write_character(literal: &mut Vec<u8>, character: char) {
    let short = match character {
        '"' => b'"',
        '\\' => b'\\',
        '\x07' => b'a',
        '\x08' => b'b',
        '\x0c' => b'f',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\x0b' => b'v',
        _ if is_printable(character) => {
            literal.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return;
        }
        _ => {
            let code = u32::from(character).to_be_bytes();
            match character {
                '\0'..' ' | '\x7f' => {
                    literal.extend_from_slice(b"\\x");
                    write_hex(literal, &code[3..]);
                }
                ..='\u{ffff}' => {
                    literal.extend_from_slice(b"\\u");
                    write_hex(literal, &code[2..]);
                }
                _ => {
                    literal.extend_from_slice(b"\\U");
                    write_hex(literal, &code);
                }
            }
            return;
        }
    };
    literal.extend_from_slice(&[b'\\', short]);
}

fn is_printable(character: char) -> bool {
    // After an odd number of borders one is inside a range.
    PRINTABLE_BORDERS.partition_point(|border| *border <= u32::from(character)) % 2 == 1
}

/// The bytes of a name whose literal is `literal`.
///
/// Nothing is said about whether the name is one that a file system takes: it may be empty, or `..`, or hold a slash.
pub fn unquote(literal: &str) -> Result<Vec<u8>, FormatError> {
    let mut name = Vec::with_capacity(literal.len());
    let mut rest = literal.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'"' | b'\n' => return Err(invalid()),
            b'\\' => rest = unescape(&mut name, rest).ok_or_else(invalid)?,
            _ => name.push(*byte),
        }
    }
    Ok(name)
}

fn invalid() -> FormatError {
    FormatError::malformed("a name is not quoted as names in trees are")
}

/// Reads an escape from after its backslash; yields what follows it.
fn unescape<'a>(name: &mut Vec<u8>, escape: &'a [u8]) -> Option<&'a [u8]> {
    let (kind, rest) = escape.split_first()?;
    let byte = match kind {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' => *kind,
        b'x' => {
            let (value, rest) = digits(rest, 2, 16)?;
            name.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        b'0'..=b'7' => {
            let (value, rest) = digits(escape, 3, 8)?;
            name.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        b'u' | b'U' => {
            let (value, rest) = digits(rest, if *kind == b'u' { 4 } else { 8 }, 16)?;
            let character = char::from_u32(value)?;
            name.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    name.push(byte);
    Some(rest)
}

fn digits(text: &[u8], count: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        // Eight hexadecimal digits fill the value exactly.
        Some(value * radix + char::from(*digit).to_digit(radix)?)
    })?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_is_the_one_of_the_vectors() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/vectors/go-isprint-unicode15.json"
        );
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let code = |value: &serde_json::Value| u32::from_str_radix(value.as_str().unwrap(), 16).unwrap();
        let borders: Vec<u32> = file["ranges"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|range| [code(&range[0]), code(&range[1]) + 1])
            .collect();
        assert_eq!(PRINTABLE_BORDERS.as_slice(), borders);
        let count = ('\0'..=char::MAX)
            .filter(|character| is_printable(*character))
            .count();
        assert_eq!(count as u64, file["count"].as_u64().unwrap());
    }

    #[test]
    fn every_character_survives() {
        for character in '\0'..=char::MAX {
            let name = character.to_string().into_bytes();
            assert_eq!(unquote(&quote(&name)), Ok(name));
        }
    }

    #[test]
    fn emoji_of_several_parts_are_escaped_at_the_joints() {
        assert_eq!(quote("👩\u{200d}🚀".as_bytes()), "👩\\u200d🚀");
        assert_eq!(quote("\u{e0067}".as_bytes()), "\\U000e0067");
        assert_eq!(quote(b"\xf0\x9f\x91"), "\\xf0\\x9f\\x91");
        assert_eq!(quote(b"\xed\xa0\x80"), "\\xed\\xa0\\x80");
    }

    proptest! {
        #[test]
        fn any_name_survives(name: Vec<u8>) {
            prop_assert_eq!(unquote(&quote(&name)), Ok(name));
        }

        #[test]
        fn no_literal_makes_reading_panic(literal in "\\PC*|[\\\\\"xuU0-9a-fé]{0,20}") {
            if let Ok(name) = unquote(&literal) {
                prop_assert_eq!(unquote(&quote(&name)), Ok(name));
            }
        }
    }
}
