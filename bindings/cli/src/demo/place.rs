//! The folder in which the demonstration happens, and what becomes of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::PASSWORD;
use crate::{
    args::DemoArgs,
    exit::{Failure, Result},
    output::Output,
};

/// Removes itself unless it is told to stay.
pub(super) struct Place {
    root: PathBuf,
    temporary: Option<TempDir>,
    keep: bool,
}

impl Place {
    pub(super) fn prepare(args: &DemoArgs) -> Result<Self> {
        let keep = args.keep;
        let failed = |error| Failure::io("making a folder for the demonstration", error);
        let Some(dir) = &args.dir else {
            let temporary = tempfile::Builder::new().prefix("lifeboat-demo-").tempdir();
            let temporary = temporary.map_err(failed)?;
            return Ok(Self {
                root: temporary.path().to_owned(),
                temporary: Some(temporary),
                keep,
            });
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let root = std::path::absolute(dir).map_err(failed)?;
        // What is there belongs to somebody, and the demonstration removes what it finds in the end.
        if fs::read_dir(&root).map_err(failed)?.next().is_some() {
            let text = format!("{} is not empty: give another folder", root.display());
            return Err(Failure::here(text));
        }
        Ok(Self {
            root,
            temporary: None,
            keep,
        })
    }

    pub(super) fn app(&self) -> PathBuf {
        self.root.join("app")
    }

    pub(super) fn vault(&self) -> PathBuf {
        self.root.join("vault")
    }

    pub(super) fn restored(&self) -> PathBuf {
        self.root.join("restored")
    }

    pub(super) fn state(&self, phone: &str) -> PathBuf {
        self.root.join(phone)
    }

    /// Removes everything, or says how to look at it.
    pub(super) fn leave(self, out: &mut Output, is_told: bool) -> Result<()> {
        let Self {
            root,
            temporary,
            keep,
        } = self;
        if keep {
            // Now it stays.
            let root = temporary.map_or(root, TempDir::keep);
            if !is_told {
                return Ok(());
            }
            out.line("Any restic reads the same vault:\n")?;
            restic_command(&root, out)?;
            return out.line(format_args!("Everything is in {}", root.display()));
        }
        let removed = match temporary {
            Some(temporary) => temporary.close(),
            None => fs::remove_dir_all(&root),
        };
        removed.map_err(|error| Failure::io(format!("removing {}", root.display()), error))?;
        if is_told {
            out.line(
                "The folder is removed again. With --keep it stays, and any restic reads the same vault:\n",
            )?;
            restic_command(&root, out)?;
        }
        Ok(())
    }
}

/// How anyone reads the vault without Lifeboat.
fn restic_command(root: &Path, out: &mut Output) -> Result<()> {
    out.line(format_args!(
        "  RESTIC_PASSWORD={PASSWORD} restic -r {} \\\n    restore latest --target {}\n",
        quoted(&root.join("vault")),
        quoted(&root.join("by-restic"))
    ))
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+@%".contains(letter);
    if text.chars().all(is_plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(quoted(Path::new("/tmp/a-b_1.c")), "/tmp/a-b_1.c");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "x").unwrap();
        let args = DemoArgs {
            keep: false,
            dir: Some(dir.path().to_owned()),
        };
        assert!(Place::prepare(&args).is_err());
        assert!(dir.path().join("mine").exists());
    }
}
