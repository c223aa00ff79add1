//! From the sources of a job to the tree that its snapshot will have.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

use crate::error::{Error, Kind, Result};

/// One thing to back up, and where it appears in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is now.
    pub path: PathBuf,
    /// Its place in the snapshot's tree, from the root. Empty: the entries of the folder `path` stand in the root itself.
    ///
    /// On a phone a name that stays the same, such as `files`, since the path of an app's folder changes when it is installed anew.
    pub place: Vec<OsString>,
}

impl Source {
    /// At the place that restic gives to a path on its command line: the path itself, without dots.
    pub fn at_path(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let place = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        });
        let place = place.collect();
        Self { path, place }
    }

    /// Directly below the root, under a name of the app's.
    pub fn named(path: impl Into<PathBuf>, name: impl Into<OsString>) -> Self {
        Self {
            path: path.into(),
            place: vec![name.into()],
        }
    }
}

/// A folder or a source in the tree to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Walked as it is on disk.
    Source(PathBuf),
    /// Holds only these children. `path` is the folder on disk that lends it its metadata, where there is one.
    Folder {
        path: Option<PathBuf>,
        children: BTreeMap<Vec<u8>, Target>,
    },
}

impl Target {
    /// The root of the tree that holds all `sources`. A source inside another adds nothing; two of the same place are told apart as restic does
    /// it: the second is called `name-1`.
    pub(crate) fn root(sources: &[Source]) -> Result<Self> {
        if sources.is_empty() {
            return Err(Error::new(
                Kind::InvalidInput,
                "there is nothing to back up: name at least one path",
            ));
        }
        let mut root = Self::Folder {
            path: None,
            children: BTreeMap::new(),
        };
        for source in sources {
            for name in &source.place {
                check_name(name.as_bytes())?;
            }
            root.insert(source, &source.place, 0);
        }
        Ok(root)
    }

    /// The absolute paths of all sources below.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        match self {
            Self::Source(path) => vec![std::path::absolute(path).unwrap_or_else(|_| path.clone())],
            Self::Folder { children, .. } => children.values().flat_map(Self::sources).collect(),
        }
    }

    fn insert(&mut self, source: &Source, rest: &[OsString], depth: usize) {
        let Self::Folder { children, .. } = self else {
            return;
        };
        let Some((name, rest)) = rest.split_first() else {
            // An empty place: the source is the root.
            *self = Self::Source(source.path.clone());
            return;
        };
        let mut key = name.as_bytes().to_vec();
        if rest.is_empty() {
            let mut number = 1;
            while matches!(children.get(&key), Some(Self::Source(other)) if *other != source.path) {
                key = [name.as_bytes(), format!("-{number}").as_bytes()].concat();
                number += 1;
            }
            // A source takes the place of a folder made for sources inside it.
            children.insert(key, Self::Source(source.path.clone()));
        } else {
            let path = ancestor(source, depth + 1);
            let folder = Self::Folder {
                path,
                children: BTreeMap::new(),
            };
            children
                .entry(key)
                .or_insert(folder)
                .insert(source, rest, depth + 1);
        }
    }
}

/// The folder on disk that is the source's ancestor at this depth of its place, where path and place end alike.
fn ancestor(source: &Source, depth: usize) -> Option<PathBuf> {
    let place: PathBuf = source.place.iter().collect();
    source.path.ends_with(&place).then_some(())?;
    source
        .path
        .ancestors()
        .nth(source.place.len() - depth)
        .map(Path::to_owned)
}

fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        let name = OsString::from_vec(name.to_vec());
        return Err(Error::new(
            Kind::InvalidInput,
            format!("{name:?} cannot be a name in a snapshot"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str, children: impl IntoIterator<Item = (&'static str, Target)>) -> Target {
        let children = children
            .into_iter()
            .map(|(name, child)| (name.as_bytes().to_vec(), child))
            .collect();
        Target::Folder {
            path: (!path.is_empty()).then(|| path.into()),
            children,
        }
    }

    fn source(path: &str) -> Target {
        Target::Source(path.into())
    }

    fn root(paths: &[&str]) -> Target {
        Target::root(&paths.iter().map(Source::at_path).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn places_are_those_of_restic() {
        let tree = folder(
            "",
            [("a", folder("/a", [("b", source("/a/b")), ("c", source("/a/c"))]))],
        );
        assert_eq!(root(&["/a/b", "/a/c"]), tree);
        assert_eq!(root(&["."]), source("."));
        assert_eq!(
            root(&["../x/y"]),
            folder("", [("x", folder("../x", [("y", source("../x/y"))]))])
        );
        assert_eq!(root(&["/a/b/c", "/a/b"]), root(&["/a/b"]));
        assert_eq!(root(&["/a/b", "/a/b/c"]), root(&["/a/b"]));
    }

    #[test]
    fn named_places_have_no_metadata_of_their_own_and_equal_ones_are_numbered() {
        let sources = [
            Source::named("/data/1/files", "files"),
            Source::named("/data/2/files", "files"),
        ];
        let tree = folder(
            "",
            [
                ("files", source("/data/1/files")),
                ("files-1", source("/data/2/files")),
            ],
        );
        assert_eq!(Target::root(&sources).unwrap(), tree);
        let deep = Source {
            path: "/data/x".into(),
            place: vec!["app".into(), "files".into()],
        };
        assert_eq!(
            Target::root(&[deep]).unwrap(),
            folder("", [("app", folder("", [("files", source("/data/x"))]))])
        );
        assert!(Target::root(&[Source::named("/x", "..")]).is_err());
        assert!(Target::root(&[]).is_err());
    }
}
