//! Which paths are left out.
//!
//! Patterns mean what they mean to restic, which tries each name of a path by the rules of Go's `filepath.Match`:
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any characters of one name |
//! | `?` | one character |
//! | `[a-z]`, `[^a-z]` | one character of these, or none of them |
//! | `\*` | the character itself |
//! | `**` | any number of names, also none |
//! | `/…` | from the root; any other pattern begins at any folder |
//! | `!…` | takes back what patterns before it left out, with all that is in it |
//!
//! One thing is ours: what was named as a source is backed up, whatever folder it lies in. restic leaves a source out whose path matches, or a folder
//! above it.

use std::{iter::Peekable, os::unix::ffi::OsStrExt, path::Path, str::Chars};

use crate::error::{Error, Kind, Result};

/// A folder that matches is left out with all that it holds: what is in it is not asked for.
#[derive(Debug, Clone)]
pub(crate) struct Excludes(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    takes_back: bool,
    /// One that may begin at any folder begins with [`Part::Names`], and one that takes back ends with it.
    parts: Vec<Part>,
}

/// What one name of a path has to be.
#[derive(Debug, Clone)]
enum Part {
    Name(Vec<Token>),
    /// Not one name, but any number of them.
    Names,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    One(char),
    Any,
    AnyRun,
    Class {
        negated: bool,
        /// Bounds belong to them.
        ranges: Vec<(char, char)>,
    },
}

impl Excludes {
    pub(crate) fn new(patterns: &[String]) -> Result<Self> {
        let parse = |pattern: &String| {
            Pattern::parse(pattern).ok_or_else(|| {
                let text = format!(
                    "the pattern '{pattern}' cannot be used: it names nothing, a '[' has no end, or a '\\' nothing after it"
                );
                Error::new(Kind::InvalidInput, text)
            })
        };
        let said = patterns.iter().filter(|pattern| !pattern.is_empty());
        said.map(parse).collect::<Result<_>>().map(Self)
    }

    /// Of patterns that contradict each other, the last one counts.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let bytes = path.as_os_str().as_bytes();
        let names: Vec<&[u8]> = (bytes.split(|byte| *byte == b'/'))
            .filter(|name| !name.is_empty())
            .collect();
        let last = self.0.iter().rev().find(|pattern| pattern.matches(&names));
        last.is_some_and(|pattern| !pattern.takes_back)
    }
}

impl Pattern {
    fn parse(pattern: &str) -> Option<Self> {
        let (takes_back, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let is_rooted = pattern.starts_with('/');
        let mut names = Vec::new();
        for name in pattern.split('/') {
            match name {
                "" | "." => {}
                // Nothing is above the root; above anywhere is nowhere that a pattern could mean.
                ".." => {
                    if names.pop().is_none() && !is_rooted {
                        return None;
                    }
                }
                name => names.push(name),
            }
        }
        let mut parts = if is_rooted { vec![] } else { vec![Part::Names] };
        for name in &names {
            parts.push(match *name {
                "**" => Part::Names,
                name => Part::Name(tokens(name)?),
            });
        }
        if takes_back {
            parts.push(Part::Names);
        }
        (!names.is_empty()).then_some(Self { takes_back, parts })
    }

    fn matches(&self, names: &[&[u8]]) -> bool {
        let fits = |part: &Part, name: &&&[u8]| match part {
            Part::Name(tokens) => name_matches(tokens, &String::from_utf8_lossy(name)),
            Part::Names => false,
        };
        wildcard(
            &self.parts,
            names.iter(),
            |part| matches!(part, Part::Names),
            fits,
        )
    }
}

fn name_matches(tokens: &[Token], name: &str) -> bool {
    let fits = |token: &Token, character: &char| match token {
        Token::One(one) => one == character,
        Token::Any => true,
        Token::AnyRun => false,
        Token::Class { negated, ranges } => {
            let inside = ranges.iter().any(|(from, to)| (*from..=*to).contains(character));
            inside != *negated
        }
    };
    wildcard(tokens, name.chars(), |token| *token == Token::AnyRun, fits)
}

/// Whether items are what a pattern says of each, where some of its elements stand for any number of items.
///
/// After a mismatch only the last of those needs to take one item more: what came before it has matched as early as it can.
fn wildcard<P, I: Iterator + Clone>(
    pattern: &[P],
    mut items: I,
    is_run: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &I::Item) -> bool,
) -> bool {
    let mut at = 0;
    let mut last_run: Option<(usize, I)> = None;
    loop {
        if pattern.get(at).is_some_and(&is_run) {
            at += 1;
            last_run = Some((at, items.clone()));
            continue;
        }
        let mut next = items.clone();
        match (pattern.get(at), next.next()) {
            (None, None) => return true,
            (Some(element), Some(item)) if fits(element, &item) => {
                at += 1;
                items = next;
            }
            (_, item) => {
                let Some((after, longer)) = &mut last_run else {
                    return false;
                };
                // Nothing is left that it could take.
                if item.is_none() || longer.next().is_none() {
                    return false;
                }
                (at, items) = (*after, longer.clone());
            }
        }
    }
}

/// The pattern of one name; nothing where it is none.
fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut rest = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(character) = rest.next() {
        tokens.push(match character {
            '*' => Token::AnyRun,
            '?' => Token::Any,
            '[' => class(&mut rest)?,
            '\\' => Token::One(rest.next()?),
            character => Token::One(character),
        });
    }
    Some(tokens)
}

/// What is behind a `[`.
fn class(rest: &mut Peekable<Chars<'_>>) -> Option<Token> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    // The first may not be the end.
    while ranges.is_empty() || rest.next_if_eq(&']').is_none() {
        let from = bound(rest)?;
        let to = match rest.next_if_eq(&'-') {
            Some(_) => bound(rest)?,
            None => from,
        };
        ranges.push((from, to));
    }
    Some(Token::Class { negated, ranges })
}

fn bound(rest: &mut Peekable<Chars<'_>>) -> Option<char> {
    match rest.next()? {
        '\\' => rest.next(),
        '-' | ']' => None,
        character => Some(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_restic() {
        let cases: [(&[&str], &str, bool); 31] = [
            (&["*.tmp"], "/a/b/x.tmp", true),
            (&["*.tmp"], "/a/x.tmp/inside", false),
            (&["b/*.c"], "/a/b/x.c", true),
            (&["b/*.c"], "/a/b/d/x.c", false),
            (&["/a/*"], "/a/b", true),
            (&["/a/*"], "/x/a/b", false),
            (&["/a/**/z"], "/a/b/c/z", true),
            (&["/a/**/z"], "/a/z", true),
            (&["/a/**/z"], "/a/b/zz", false),
            (&["a/**"], "/x/a", true),
            (&["**/b/**/c"], "/b/a/b/c", true),
            (&["cache/"], "/app/cache", true),
            (&["./cache"], "/app/cache", true),
            (&["a/../cache"], "/app/cache", true),
            (&["/../app"], "/app", true),
            (&["", "cache"], "/app/cache", true),
            (&["ca*e*e"], "/cacheleke", true),
            (&["ca*e*e"], "/cachelek", false),
            (&["?"], "/ä", true),
            (&["?"], "/", false),
            (&["[a-c]x"], "/bx", true),
            (&["[^a-c]x"], "/bx", false),
            (&["[\\]]"], "/]", true),
            (&["\\*"], "/*", true),
            (&["\\*"], "/a", false),
            (&["{a,b}"], "/a", false),
            (&["*", "!keep"], "/keep", false),
            (&["*", "!keep", "keep"], "/keep", true),
            (&["*.tmp", "!keep"], "/a/keep/x.tmp", false),
            (&["!keep"], "/other", false),
            (&[], "/a", false),
        ];
        for (patterns, path, expected) in cases {
            let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            let excludes = Excludes::new(&patterns).unwrap();
            let matches = excludes.matches(Path::new(path));
            assert_eq!(matches, expected, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_the_callers_mistake() {
        for pattern in [
            "!", "/", "..", "../a", "[", "[]", "[a", "[a-", "[a-]", "[-a]", "[^]", "x\\", "a/[/b",
        ] {
            let refused = Excludes::new(&[pattern.to_owned()]).map(|_| pattern).unwrap_err();
            assert_eq!(refused.kind(), Kind::InvalidInput, "{pattern}");
        }
    }

    #[test]
    fn names_that_are_not_unicode_can_match() {
        let excludes = Excludes::new(&["*.tmp".to_owned()]).unwrap();
        let name = std::ffi::OsStr::from_bytes(b"/a/\xff\xfe.tmp");
        assert!(excludes.matches(Path::new(name)));
    }
}
