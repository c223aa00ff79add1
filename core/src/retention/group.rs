//! Which snapshots are considered, and which of them belong together.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::{RetentionError, SnapshotFacts};

/// Tags that a snapshot must have all of. Where several such lists are given, one of them is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TagList(pub Vec<String>);

impl TagList {
    /// An empty tag in the list stands for "no tags": it makes the list match a snapshot without any, as in restic.
    pub fn matches(&self, tags: &[String]) -> bool {
        for tag in &self.0 {
            if tag.is_empty() && tags.is_empty() {
                return true;
            }
            if !tags.contains(tag) {
                return false;
            }
        }
        true
    }
}

impl From<&str> for TagList {
    /// Tags stand between commas; white space around them does not count.
    fn from(text: &str) -> Self {
        Self(text.split(',').map(|tag| tag.trim().to_owned()).collect())
    }
}

impl fmt::Display for TagList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0.join(", "))
    }
}

/// Which snapshots are considered. The default lets everything pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Any of these; empty for all.
    pub hosts: Vec<String>,
    /// Any of these lists; empty for all.
    pub tags: Vec<TagList>,
    /// All of these.
    pub paths: Vec<String>,
}

impl SnapshotFilter {
    pub fn matches(&self, snapshot: &SnapshotFacts) -> bool {
        (self.hosts.is_empty() || self.hosts.contains(&snapshot.hostname))
            && (self.tags.is_empty() || self.tags.iter().any(|list| list.matches(&snapshot.tags)))
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
    }
}

/// What snapshots of one group have in common. The text form is restic's: `host,paths`, or nothing for a single group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    pub host: bool,
    pub paths: bool,
    pub tags: bool,
}

impl Default for GroupBy {
    /// By host and paths: backups of the same things.
    fn default() -> Self {
        Self {
            host: true,
            paths: true,
            tags: false,
        }
    }
}

impl FromStr for GroupBy {
    type Err = RetentionError;

    fn from_str(text: &str) -> Result<Self, RetentionError> {
        let mut group_by = Self {
            host: false,
            paths: false,
            tags: false,
        };
        for word in text.split(',') {
            match word {
                "host" | "hosts" => group_by.host = true,
                "path" | "paths" => group_by.paths = true,
                "tag" | "tags" => group_by.tags = true,
                "" => {}
                _ => {
                    let detail = format!("snapshots are grouped by host, paths and tags, not by {word:?}");
                    return Err(RetentionError::Invalid(detail));
                }
            }
        }
        Ok(group_by)
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.host, "host"), (self.paths, "paths"), (self.tags, "tags")];
        let words: Vec<&str> = words
            .into_iter()
            .filter_map(|(set, word)| set.then_some(word))
            .collect();
        f.write_str(&words.join(","))
    }
}

/// What the snapshots of a group have in common; empty where they need have nothing in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    pub hostname: String,
    /// Sorted, because the order in which they were given does not make another backup of it.
    pub paths: Vec<String>,
    /// Sorted.
    pub tags: Vec<String>,
}

/// Divides snapshots into groups, in the order of their keys. Within a group they keep their order.
pub fn group(snapshots: Vec<SnapshotFacts>, by: GroupBy) -> Vec<(GroupKey, Vec<SnapshotFacts>)> {
    let sorted = |wanted: bool, texts: &[String]| {
        let mut texts = if wanted { texts.to_vec() } else { Vec::new() };
        texts.sort();
        texts
    };
    let mut groups: BTreeMap<GroupKey, Vec<SnapshotFacts>> = BTreeMap::new();
    for snapshot in snapshots {
        let key = GroupKey {
            hostname: if by.host {
                snapshot.hostname.clone()
            } else {
                String::new()
            },
            paths: sorted(by.paths, &snapshot.paths),
            tags: sorted(by.tags, &snapshot.tags),
        };
        groups.entry(key).or_default().push(snapshot);
    }
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{SnapshotId, ZonedTimestamp};

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn snapshot(hostname: &str, paths: &[&str], tags: &[&str]) -> SnapshotFacts {
        SnapshotFacts {
            id: SnapshotId::of(format!("{hostname}{paths:?}{tags:?}").as_bytes()),
            time: ZonedTimestamp::YEAR_ONE,
            hostname: hostname.to_owned(),
            paths: strings(paths),
            tags: strings(tags),
        }
    }

    #[test]
    fn tags_are_joined_by_and_within_a_list_and_by_or_between_lists() {
        let matches = |list: &str, tags: &[&str]| TagList::from(list).matches(&strings(tags));
        assert!(matches("a, b", &["b", "c", "a"]));
        assert!(!matches("a,b", &["a"]));
        assert!(matches("", &[]));
        assert!(!matches("", &["a"]));
        assert!(matches(",b", &[]));
        assert!(!matches("b,", &[]));
        let filter = SnapshotFilter {
            tags: vec!["a,b".into(), "c".into()],
            ..SnapshotFilter::default()
        };
        assert!(filter.matches(&snapshot("", &[], &["c"])));
        assert!(filter.matches(&snapshot("", &[], &["a", "b"])));
        assert!(!filter.matches(&snapshot("", &[], &["a"])));
        assert_eq!(TagList::from(" a ,b").to_string(), "[a, b]");
    }

    #[test]
    fn hosts_are_alternatives_and_paths_are_not() {
        let filter = SnapshotFilter {
            hosts: strings(&["h", "i"]),
            paths: strings(&["/a", "/b"]),
            tags: vec![],
        };
        assert!(filter.matches(&snapshot("i", &["/b", "/c", "/a"], &[])));
        assert!(!filter.matches(&snapshot("j", &["/a", "/b"], &[])));
        assert!(!filter.matches(&snapshot("h", &["/a"], &[])));
        assert!(SnapshotFilter::default().matches(&snapshot("h", &[], &[])));
    }

    #[test]
    fn groups_have_what_was_asked_for_in_common() {
        let all = vec![
            snapshot("h", &["/b", "/a"], &["x"]),
            snapshot("g", &["/a"], &[]),
            snapshot("h", &["/a", "/b"], &["y", "x"]),
            snapshot("h", &["/a", "/b"], &["x", "y"]),
        ];
        let members = |by: &str| -> Vec<usize> {
            group(all.clone(), by.parse().unwrap())
                .iter()
                .map(|(_, members)| members.len())
                .collect()
        };
        assert_eq!(members(""), [4]);
        assert_eq!(members("host"), [1, 3]);
        assert_eq!(members("host,paths"), [1, 3]);
        assert_eq!(members("tags"), [1, 1, 2]);
        assert_eq!(members("path,tag,hosts"), [1, 1, 2]);
        let groups = group(all.clone(), GroupBy::default());
        assert_eq!(groups[1].0.paths, ["/a", "/b"]);
        assert_eq!(groups[1].1[0], all[0]);
        assert!("hots".parse::<GroupBy>().is_err());
        assert_eq!(GroupBy::default().to_string(), "host,paths");
    }
}
