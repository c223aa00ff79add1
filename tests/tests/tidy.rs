//! The conventions that a machine can check. Each rule says why it is one; a rule about files that do not exist
//! yet has nothing to say.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The reader of a file should hold all of it in the head: longer files hold two ideas.
const LINES_MAX: usize = 600;

/// Files that may be longer, each with its reason beside it.
const LONGER_FILES: [&str; 0] = [];

/// Names that say nothing: whatever is in such a module belongs somewhere with a name.
const EMPTY_NAMES: [&str; 3] = ["utils", "helpers", "common"];

#[test]
fn files_fit_a_head() {
    report(
        sources()
            .into_iter()
            .filter(|file| !LONGER_FILES.contains(&file.path.as_str()))
            .filter_map(|file| {
                let lines = file.text.lines().count();
                (lines > LINES_MAX).then(|| format!("{}: {lines} lines, at most {LINES_MAX}", file.path))
            }),
    );
}

#[test]
fn modules_have_names_that_say_something() {
    let says_nothing = |part: &str| {
        let stem = part.trim_end_matches(".rs");
        EMPTY_NAMES
            .iter()
            .any(|name| stem == *name || name.strip_suffix('s') == Some(stem))
    };
    report(
        sources()
            .into_iter()
            .filter(|file| file.path.split('/').any(says_nothing))
            .map(|file| file.path),
    );
}

/// Everything else must be readable, and testable, without knowing actors.
#[test]
fn actix_stays_where_actors_are() {
    let allowed = |path: &str| {
        path.starts_with("core/src/runtime/") || path.ends_with("/messages.rs") || path.ends_with("/actor.rs")
    };
    let others = sources().into_iter().filter(|file| !allowed(&file.path));
    report(others.flat_map(|file| file.lines_with(&["actix", "actix_rt"])));
}

/// A message without a permit is work without a bound, and a message to a dead actor is lost in silence.
#[test]
fn nobody_sends_and_forgets() {
    report(
        sources()
            .into_iter()
            .flat_map(|file| file.lines_with(&["do_send"])),
    );
}

/// A library that ends the process ends the app.
#[test]
fn only_the_command_line_ends_the_process() {
    let others = sources()
        .into_iter()
        .filter(|file| file.path != "bindings/cli/src/main.rs");
    report(others.flat_map(|file| file.lines_with(&["process::exit", "process::abort"])));
}

/// Time is an input: whoever asks for it cannot be replayed.
#[test]
fn the_engine_asks_the_time_in_one_place() {
    let asks = ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"];
    let others = core().into_iter().filter(|file| file.path != "core/src/clock.rs");
    report(others.flat_map(|file| file.without_tests().lines_with(&asks)));
}

/// Formats and decisions are values in, values out: no disk, no network, no runtime.
#[test]
fn formats_and_decisions_do_no_input_or_output() {
    let effects = [
        "std::fs",
        "std::net",
        "tokio",
        "actix",
        "rustix",
        "rusqlite",
        "async",
        "std::thread",
    ];
    let pure = |path: &str| path.starts_with("core/src/format/") || path.ends_with("/decide.rs");
    let files = core().into_iter().filter(|file| pure(&file.path));
    // `use std::{fs, …}` brings the same in by another spelling.
    let grouped = |file: &Source| {
        let text = file.code().replace(char::is_whitespace, "");
        let groups: Vec<&str> = text
            .split("usestd::{")
            .skip(1)
            .filter_map(|rest| rest.split(';').next())
            .collect();
        let named = |group: &&str| ["fs", "net", "thread"].iter().any(|name| has_word(group, name));
        groups
            .iter()
            .any(named)
            .then(|| format!("{}: effects of std in a group", file.path))
    };
    report(files.flat_map(|file| {
        let file = file.without_tests();
        file.lines_with(&effects)
            .into_iter()
            .chain(grouped(&file))
            .collect::<Vec<_>>()
    }));
}

/// A limit that nobody reads is a promise that nobody keeps.
#[test]
fn every_limit_is_used() {
    let files = sources();
    let Some(limits) = files.iter().find(|file| file.path == "core/src/limits.rs") else {
        return;
    };
    let name_of = |line: &str| {
        let (before, rest) = line.split_once("const ")?;
        let name = rest.split_once(':')?.0.trim();
        // The units that the limits are written in are the file's own business.
        before.trim_start().starts_with("pub").then(|| name.to_owned())
    };
    let names: Vec<String> = limits
        .code()
        .lines()
        .filter_map(name_of)
        .filter(|name| name != "_")
        .collect();
    assert!(!names.is_empty(), "no constants found in core/src/limits.rs");
    let used = |name: &str| {
        let engine = |path: &str| path.starts_with("core/") || path.starts_with("bindings/");
        let others = files
            .iter()
            .filter(|file| engine(&file.path) && file.path != limits.path);
        others
            .map(|file| file.clone().without_tests())
            .any(|file| has_word(&file.code(), name))
    };
    report(
        names
            .into_iter()
            .filter(|name| !used(name))
            .map(|name| format!("limits.rs: nobody uses {name}")),
    );
}

/// What the compiler cannot check is in one place, small enough to be checked by reading.
#[test]
fn unsafe_code_is_in_one_file() {
    let others = sources()
        .into_iter()
        .filter(|file| file.path != "core/src/sqlite/ofd.rs");
    report(others.flat_map(|file| file.lines_with(&["unsafe", "unsafe_code"])));
    let manifest = read(&root().join("Cargo.toml")).replace(' ', "");
    assert!(
        manifest.contains("unsafe_code=\"deny\""),
        "Cargo.toml: unsafe_code"
    );
}

/// The engine does not know which languages call it.
#[test]
fn the_engine_knows_no_bindings() {
    let in_code = core()
        .into_iter()
        .flat_map(|file| file.lines_with(&["uniffi", "clap"]))
        .collect::<Vec<_>>();
    let manifest = read(&root().join("core/Cargo.toml"));
    let in_manifest = manifest
        .lines()
        .filter(|line| has_word(line, "uniffi") || has_word(line, "clap"));
    report(
        in_code
            .into_iter()
            .chain(in_manifest.map(|line| format!("core/Cargo.toml: {line}"))),
    );
}

/// A phone app hosts the engine: a defect must end a job, not the host's process.
#[test]
fn a_panic_does_not_abort() {
    let manifest = read(&root().join("Cargo.toml")).replace(' ', "");
    assert!(
        !manifest.contains("panic=\"abort\""),
        "Cargo.toml: panic = \"abort\""
    );
}

/// The two commands a newcomer needs: one builds it, one tests it.
#[test]
fn the_readme_says_how_to_build_and_to_test() {
    let readme = root().join("README.md");
    if !readme.exists() {
        return;
    }
    let text = read(&readme);
    for command in ["cargo run --release -p lifeboat-cli -- demo", "tests/run"] {
        assert!(text.contains(command), "README.md does not mention `{command}`");
    }
}

/// The checks above see through comments, strings apart, and stop at the tests.
#[test]
fn a_source_is_read_as_intended() {
    let text = "// actix here\nuse x; // and actix here\nlet a = \"https://actix\";\n#[cfg(test)]\nmod tests { actix }\n";
    let file = Source {
        path: "p".into(),
        text: text.into(),
    };
    assert_eq!(file.lines_with(&["actix"]).len(), 2);
    assert_eq!(
        file.without_tests().lines_with(&["actix"]),
        ["p:3: let a = \"https://actix\";"]
    );
    assert!(has_word("a::b(c)", "a::b") && !has_word("aa::b", "a::b") && !has_word("PACK_MAX", "PACK"));
}

#[derive(Clone)]
struct Source {
    /// Below the repository's root, with slashes.
    path: String,
    text: String,
}

impl Source {
    /// Up to the first test module: by convention tests stand last. A file of tests only has nothing before them.
    fn without_tests(self) -> Self {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return Self {
                text: String::new(),
                ..self
            };
        }
        let begins_tests = |at: &usize| {
            let next = self.text[*at..].lines().nth(1).unwrap_or_default();
            next.starts_with("mod ") && next.contains('{')
        };
        let end = self
            .text
            .match_indices("#[cfg(test)]")
            .map(|(at, _)| at)
            .find(begins_tests);
        Self {
            text: self.text[..end.unwrap_or(self.text.len())].to_owned(),
            ..self
        }
    }

    /// The text without comments. What follows `//` in a string stays, so that addresses do not hide code.
    fn code(&self) -> String {
        let strip = |line: &str| {
            let at = line
                .match_indices("//")
                .map(|(at, _)| at)
                .find(|at| line[..*at].matches('"').count().is_multiple_of(2));
            line[..at.unwrap_or(line.len())].to_owned()
        };
        self.text.lines().map(strip).collect::<Vec<_>>().join("\n")
    }

    /// The lines of code that hold one of the words, ready to be shown.
    fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let holds = |line: &str| words.iter().any(|word| has_word(line, word));
        let code = self.code();
        let found = code.lines().enumerate().filter(|(_, line)| holds(line));
        found
            .map(|(number, line)| format!("{}:{}: {}", self.path, number + 1, line.trim()))
            .collect()
    }
}

/// Whether `word` is in the text and no part of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(in_name) && !text[at + word.len()..].starts_with(in_name))
}

#[track_caller]
fn report(broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn core() -> Vec<Source> {
    sources()
        .into_iter()
        .filter(|file| file.path.starts_with("core/src/"))
        .collect()
}

/// All Rust sources of the workspace but this file, which names what it forbids.
fn sources() -> Vec<Source> {
    let root = root();
    let mut found = vec![];
    let mut folders: Vec<PathBuf> = ["core", "bindings", "tests"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if below.ends_with(".rs") && below != "tests/tests/tidy.rs" {
                found.push(Source {
                    text: read(&path),
                    path: below,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 3, "no sources below {root:?}");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}
