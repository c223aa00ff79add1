//! Which paths are left out.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Kind, Result};

/// Patterns as restic reads them: `*` and `?` do not cross a slash, `**` does; one that begins with a slash is meant from the root, any other
/// may begin at any folder. A folder that matches is left out with all that it holds.
#[derive(Debug, Clone)]
pub(crate) struct Excludes(GlobSet);

impl Excludes {
    pub(crate) fn new(patterns: &[String]) -> Result<Self> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let anchored = if pattern.starts_with('/') {
                pattern.clone()
            } else {
                format!("**/{pattern}")
            };
            let glob = GlobBuilder::new(anchored.trim_end_matches('/'))
                .literal_separator(true)
                .build();
            let glob = glob.map_err(|error| {
                Error::with_source(
                    Kind::InvalidInput,
                    format!("the pattern '{pattern}' cannot be used"),
                    error,
                )
            })?;
            set.add(glob);
        }
        let set = set.build().map_err(|error| {
            Error::with_source(
                Kind::InvalidInput,
                "the patterns to exclude cannot be used",
                error,
            )
        })?;
        Ok(Self(set))
    }

    pub(crate) fn matches(&self, path: &Path) -> bool {
        !self.0.is_empty() && self.0.is_match(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_restic() {
        let cases = [
            ("*.tmp", "/a/b/x.tmp", true),
            ("*.tmp", "/a/x.tmp/inside", false),
            ("b/*.c", "/a/b/x.c", true),
            ("b/*.c", "/a/b/d/x.c", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/x/a/b", false),
            ("/a/**/z", "/a/b/c/z", true),
            ("cache/", "/app/cache", true),
        ];
        for (pattern, path, expected) in cases {
            let excludes = Excludes::new(&[pattern.to_owned()]).unwrap();
            assert_eq!(excludes.matches(Path::new(path)), expected, "{pattern} on {path}");
        }
        assert!(!Excludes::new(&[]).unwrap().matches(Path::new("/a")));
        assert_eq!(
            Excludes::new(&["[".into()]).unwrap_err().kind(),
            Kind::InvalidInput
        );
    }
}
