//! Capturing databases before any file is read.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{AtFlags, CWD, statat};

use super::{
    DatabaseRules, Ready, absolute,
    files::{has_companions, is_companion, is_database, look, may_be_database},
    unchanged,
};
use crate::{
    catalog::{databases, files},
    error::Result,
    format::NodeType,
    repository::err_if_cancelled,
    scan::{
        Metadata, Step, Target,
        capture::Subject,
        large::Failed,
        walk::{Walker, dir_key, list, open_dir},
    },
    sqlite::Access,
};

impl Walker {
    /// Captures what is known to be a database, before any file is read.
    pub(in crate::scan) fn capture_first(&mut self, root: &Target) -> Result<()> {
        let Some(rules) = self.context.databases.clone() else {
            return Ok(());
        };
        let sources = root.sources();
        let mut groups: BTreeMap<Option<String>, Vec<(PathBuf, Access)>> = BTreeMap::new();
        let mut alone = Vec::new();
        for source in &rules.databases.declared {
            let one = (absolute(&source.path), source.access.clone());
            match &source.group {
                Some(group) => groups.entry(Some(group.clone())).or_default().push(one),
                None => alone.push(vec![one]),
            }
        }
        if let Some(found) = &rules.databases.found {
            let catalog = &self.context.reader.catalog;
            let known = catalog.read_blocking(databases::all)?;
            let mut paths: Vec<PathBuf> = known
                .into_iter()
                .map(|(dir, name)| Path::new(OsStr::from_bytes(&dir)).join(OsStr::from_bytes(&name)))
                .collect();
            for source in &sources {
                self.discover(source, &mut paths)?;
            }
            paths.sort();
            paths.dedup();
            let is_declared = |path: &PathBuf| {
                rules
                    .databases
                    .declared
                    .iter()
                    .any(|source| absolute(&source.path) == *path)
            };
            paths.retain(|path| !is_declared(path));
            alone.extend(paths.into_iter().map(|path| vec![(path, found.clone())]));
        }
        for group in groups.into_values().chain(alone) {
            let wanted = |path: &Path| {
                let inside = sources.iter().any(|source| path.starts_with(source));
                inside && !self.context.excludes.matches(path)
            };
            let members: Vec<_> = group.into_iter().filter(|(path, _)| wanted(path)).collect();
            self.capture_group(&rules, members)?;
        }
        Ok(())
    }

    /// Captures the members of a group at one moment, if any of them may have changed.
    fn capture_group(&mut self, rules: &DatabaseRules, members: Vec<(PathBuf, Access)>) -> Result<()> {
        let (mut subjects, mut seen, mut any_changed) = (Vec::new(), Vec::new(), false);
        for (path, access) in members {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            let opened = open_dir(CWD, parent.as_os_str()).and_then(|dir| {
                let stat = Metadata::of(&statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?);
                if stat.kind() != NodeType::File || stat.stat.size == 0 {
                    return Err(io::Error::other("no database"));
                }
                let names = list(dir.as_fd())?;
                let file = look(dir.as_fd(), name, &access, has_companions(&names, name))?;
                Ok((file, Arc::new(dir), stat))
            });
            // Gone, not readable, or no database any more: the walk will say so, if it comes by.
            let Ok((Some(file), folder, metadata)) = opened else {
                continue;
            };
            if !is_database(&file, &access) {
                continue;
            }
            let before = self.look(&file, metadata, &path);
            let (dir, file_name) = (dir_key(parent), name.as_bytes().to_vec());
            let stored = self.stored(&dir, name)?;
            let row = {
                let (dir, name) = (dir.clone(), file_name.clone());
                let catalog = &self.context.reader.catalog;
                catalog.read_blocking(move |db| files::one(db, &dir, &name))?
            };
            let same = row.as_ref().zip(stored.as_ref()).is_some_and(|(row, stored)| {
                stored.is_stored && unchanged(row, &before, &stored.state, self.context.epoch).is_some()
            });
            any_changed |= !same;
            subjects.push(Subject {
                key: self.databases.key(),
                dir: folder,
                dir_key: dir,
                name: name.to_owned(),
                path: path.clone(),
                access,
                state: stored
                    .filter(|stored| stored.is_stored)
                    .map(|stored| stored.state),
            });
            seen.push((path, before));
        }
        if !any_changed {
            // Whatever changes from now on is for the next backup: the group is as it was at one moment.
            for ((path, seen), subject) in seen.into_iter().zip(subjects) {
                if let Some(state) = subject.state {
                    self.databases
                        .first
                        .insert(path, Ok(Ready::Unchanged { state, seen }));
                }
            }
            return Ok(());
        }
        match self.capture(&rules.capture, subjects) {
            Ok(captured) => {
                for ((path, seen), captured) in seen.into_iter().zip(captured) {
                    self.databases
                        .first
                        .insert(path, Ok(Ready::Captured { captured, seen }));
                }
            }
            Err(Failed::Read(error) | Failed::Busy(error)) => {
                self.emit(Step::Restart)?;
                for (path, _) in seen {
                    let same = io::Error::new(error.kind(), error.to_string());
                    self.databases.first.insert(path, Err(same));
                }
            }
            Err(Failed::Engine(error)) => return Err(error),
        }
        Ok(())
    }

    /// Looks for databases below a source that was never walked.
    fn discover(&mut self, source: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        let key = dir_key(source);
        let catalog = &self.context.reader.catalog;
        let walked = catalog.read_blocking(move |db| files::in_dir_after(db, &key, b"", 1))?;
        if walked.is_some() {
            return Ok(());
        }
        let mut folders = vec![source.to_owned()];
        while let Some(folder) = folders.pop() {
            err_if_cancelled(&self.context.cancel)?;
            // What cannot be read here is told of by the walk.
            let Ok(dir) = open_dir(CWD, folder.as_os_str()) else {
                continue;
            };
            let names = list(dir.as_fd()).unwrap_or_default();
            for name in &names {
                let path = folder.join(OsStr::from_bytes(name.to_bytes()));
                if is_companion(&names, name) || self.context.excludes.matches(&path) {
                    continue;
                }
                let Ok(stat) = statat(&dir, &**name, AtFlags::SYMLINK_NOFOLLOW) else {
                    continue;
                };
                let metadata = Metadata::of(&stat);
                match metadata.kind() {
                    NodeType::Dir => folders.push(path),
                    NodeType::File if may_be_database(metadata.stat.size) => {
                        let name = OsStr::from_bytes(name.to_bytes());
                        let file = look(dir.as_fd(), name, &Access::Own, has_companions(&names, name));
                        if file.is_ok_and(|file| file.is_some_and(|file| is_database(&file, &Access::Own))) {
                            found.push(path);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
