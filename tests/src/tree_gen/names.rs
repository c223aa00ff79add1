//! File names that programs get wrong.

/// Every name is legal on Linux: no slash, no zero byte, at most 255 bytes.
pub fn odd_names() -> Vec<Vec<u8>> {
    let texts = [
        // The same letter twice for a reader, two names for the file system: composed and decomposed.
        "caf\u{e9}",
        "cafe\u{301}",
        // One symbol of seven code points, joined by zero-width joiners.
        "family \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}.jpg",
        "flag \u{1f1f8}\u{1f1ea}",
        "\u{645}\u{631}\u{62d}\u{628}\u{627}.txt",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd} 123",
        "right-to-left \u{202e}gpj.exe",
        "\u{6f22}\u{5b57}",
        "\u{10ffff} last code point",
        "\u{feff}byte order mark",
        "line\u{2028}separator",
        "next\u{85}line",
        "no-break\u{a0}space",
        "soft\u{ad}hyphen",
        "zero\u{200b}width",
        "replacement \u{fffd}",
        "not a character \u{ffff}",
        "turkish \u{130}\u{131}",
        "sharp \u{df}",
        "Case",
        "case",
        // What shells, globs, JSON, HTML and other systems treat specially.
        "new\nline",
        "carriage\rreturn",
        "tab\there",
        "'single' \"double\" `back`",
        "back\\slash",
        "trailing backslash\\",
        "\\x41 \\u0041 \\n",
        "bell\u{7} escape\u{1b}[31m delete\u{7f}",
        "\u{1}\u{2}\u{1f}",
        "<b>&amp;\"'",
        "%2e%2e%2f",
        "*?[a-z]{x,y}!",
        "$HOME $(id) ;&|",
        "-rf",
        "--",
        "~",
        "#hash",
        ".hidden",
        "...",
        "..almost",
        " leading",
        "trailing ",
        "trailing.",
        "CON",
        "a:b",
        "C:\\drive",
    ];
    let mut names: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    // Not UTF-8: every way to be wrong that a decoder tells apart.
    let broken: [&[u8]; 10] = [
        b"\xff\xfe",
        b"latin1 caf\xe9",
        b"cut off \xc3",
        b"cut off \xf0\x9f\x98",
        b"overlong \xc0\xaf",
        b"surrogate \xed\xa0\x80",
        b"beyond \xf4\x90\x80\x80",
        b"lone continuation \x80 here",
        b"\xffnew\nline\"quote\\",
        // Beside the valid name that holds U+FFFD: a lossy conversion makes these two the same.
        b"replacement \xff",
    ];
    names.extend(broken.iter().map(|name| name.to_vec()));
    names.push(vec![b'n'; 255]);
    // 255 bytes in letters of three bytes each.
    names.push("\u{6f22}".repeat(85).into_bytes());
    names
}
