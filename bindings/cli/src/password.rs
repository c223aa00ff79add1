//! Where passwords come from: a file, the environment, or a person at a terminal.

use std::{
    fs,
    io::{self, IsTerminal},
    path::Path,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit::{Failure, Result};

/// The password that opens the repository.
pub(crate) const CURRENT: Wanted = Wanted {
    variable: "LIFEBOAT_PASSWORD",
    option: "--password-file",
    question: "password of the repository: ",
    twice: false,
};
/// The first password of a new repository.
pub(crate) const FIRST: Wanted = Wanted {
    question: "password for the new repository: ",
    twice: true,
    ..CURRENT
};
/// One more password.
pub(crate) const ADDED: Wanted = Wanted {
    variable: "LIFEBOAT_NEW_PASSWORD",
    option: "--new-password-file",
    question: "new password: ",
    twice: true,
};

/// Which password, and how it is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    variable: &'static str,
    option: &'static str,
    question: &'static str,
    /// Nobody could tell later that it was mistyped.
    twice: bool,
}

/// Blocks while a person types.
pub(crate) fn read(wanted: Wanted, file: Option<&Path>) -> Result<Zeroizing<String>> {
    if let Some(file) = file {
        return from_file(file);
    }
    match std::env::var(wanted.variable) {
        Ok(password) if !password.is_empty() => return Ok(password.into()),
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(Failure::here(format!("{} is not UTF-8", wanted.variable)));
        }
        _ => {}
    }
    if !io::stdin().is_terminal() {
        let text = format!(
            "no password: give a file with {}, or set {}; there is no terminal to ask at",
            wanted.option, wanted.variable
        );
        return Err(Failure::here(text));
    }
    ask(wanted)
}

/// White space around the password does not count, as for restic: editors end files with a newline.
fn from_file(file: &Path) -> Result<Zeroizing<String>> {
    let bytes = fs::read(file).map_err(|error| Failure::io(format!("reading {}", file.display()), error))?;
    let bytes = Zeroizing::new(bytes);
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Failure::here(format!("{} is not UTF-8", file.display())))?;
    let password = text.trim_start_matches('\u{feff}').trim();
    if password.is_empty() {
        return Err(Failure::here(format!("{} holds no password", file.display())));
    }
    Ok(password.to_owned().into())
}

fn ask(wanted: Wanted) -> Result<Zeroizing<String>> {
    let prompt = |question: &str| {
        let typed = rpassword::prompt_password(question).map(Zeroizing::new);
        typed.map_err(|error| match error.kind() {
            // A signal: whoever waits for signals hears of it, too.
            io::ErrorKind::Interrupted => Failure::INTERRUPTED,
            _ => Failure::io("asking for the password", error),
        })
    };
    let password = prompt(wanted.question)?;
    if password.is_empty() {
        return Err(Failure::here("the password is empty"));
    }
    if wanted.twice && *prompt("the same again: ")? != *password {
        return Err(Failure::here("these were two different passwords"));
    }
    Ok(password)
}

/// The terminal as it was. A prompt hides what is typed, and a signal that ends the program there would leave
/// it so.
pub(crate) struct Terminal(Option<Termios>);

impl Terminal {
    pub(crate) fn remember() -> Self {
        Self(tcgetattr(rustix::stdio::stdin()).ok())
    }

    pub(crate) fn restore(&self) {
        if let Some(settings) = &self.0 {
            // Not a terminal any more: nothing to restore.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, settings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_password_in_a_file_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        for (content, password) in [("secret\n", "secret"), ("\u{feff} two words\r\n\n", "two words")] {
            fs::write(&path, content).unwrap();
            assert_eq!(*from_file(&path).unwrap(), password);
        }
        for refused in [&b" \n"[..], b"\xff\xfe"] {
            fs::write(&path, refused).unwrap();
            assert!(from_file(&path).is_err());
        }
    }
}
