//! Compares two folders in everything that a backup promises to bring back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File, Metadata},
    io::Read,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::{lgetxattr, lgetxattr_query, llistxattr, llistxattr_query, major, minor};

/// What to compare besides types, contents, sizes and targets, which always count.
#[derive(Clone, Debug)]
pub struct Options {
    pub modes: bool,
    pub mtimes: bool,
    pub owners: bool,
    pub xattrs: bool,
    pub hard_links: bool,
    /// How much more disk a copy may use than its original. None: allocation does not matter.
    pub allocation_slack_bytes: Option<u64>,
    /// Expected sockets need not be there: no backup holds them.
    pub ignore_sockets: bool,
    /// More differences than a person reads.
    pub differences_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            modes: true,
            mtimes: true,
            owners: true,
            xattrs: true,
            hard_links: true,
            allocation_slack_bytes: None,
            ignore_sockets: true,
            differences_max: 20,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Missing,
    Unexpected,
    Type,
    Size,
    Content,
    Target,
    Device,
    Mode,
    Mtime,
    Owner,
    Xattr,
    HardLinks,
    Allocation,
}

/// One thing that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Below the roots; empty for the roots themselves.
    pub path: PathBuf,
    pub kind: Kind,
    pub text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}: {}", self.path, self.kind, self.text)
    }
}

/// Fails the test with the differences, if there are any.
#[track_caller]
pub fn assert_same(expected: &Path, actual: &Path, options: &Options) {
    let differences = compare_trees(expected, actual, options);
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(
        lines.is_empty(),
        "{actual:?} is not {expected:?}:\n{}",
        lines.join("\n")
    );
}

/// The first differences in the order of paths, none if the trees are the same. Both roots are compared, too.
pub fn compare_trees(expected: &Path, actual: &Path, options: &Options) -> Vec<Difference> {
    let mut comparison = Comparison {
        options,
        differences: vec![],
    };
    let (mut left, right) = (walk(expected), walk(actual));
    if options.ignore_sockets {
        left.retain(|_, meta| !meta.file_type().is_socket());
    }
    for (path, meta) in &left {
        match right.get(path) {
            Some(other) => comparison.entries(path, [expected, actual], [meta, other]),
            None => comparison.note(path, Kind::Missing, format!("expected {}", type_name(meta))),
        }
    }
    for (path, meta) in right.iter().filter(|(path, _)| !left.contains_key(*path)) {
        comparison.note(path, Kind::Unexpected, format!("found {}", type_name(meta)));
    }
    if options.hard_links {
        comparison.hard_links(&link_groups(&left), &link_groups(&right));
    }
    comparison
        .differences
        .sort_by(|a, b| (&a.path, a.kind).cmp(&(&b.path, b.kind)));
    comparison.differences.truncate(options.differences_max);
    comparison.differences
}

struct Comparison<'a> {
    options: &'a Options,
    differences: Vec<Difference>,
}

impl Comparison<'_> {
    fn note(&mut self, path: &Path, kind: Kind, text: String) {
        self.differences.push(Difference {
            path: path.to_owned(),
            kind,
            text,
        });
    }

    fn value<T: PartialEq + fmt::Debug>(&mut self, path: &Path, kind: Kind, [expected, actual]: [T; 2]) {
        if expected != actual {
            self.note(path, kind, format!("expected {expected:?}, found {actual:?}"));
        }
    }

    fn entries(&mut self, path: &Path, roots: [&Path; 2], metas: [&Metadata; 2]) {
        let types = metas.map(type_name);
        if types[0] != types[1] {
            // Everything else differs as a consequence.
            return self.value(path, Kind::Type, types);
        }
        let paths = roots.map(|root| root.join(path));
        let (kind, options) = (metas[0].file_type(), self.options);
        if kind.is_file() {
            self.contents(path, &paths, metas);
        } else if kind.is_symlink() {
            let targets = paths
                .each_ref()
                .map(|path| fs::read_link(path).expect("read a link"));
            self.value(path, Kind::Target, targets);
        } else if kind.is_char_device() || kind.is_block_device() {
            self.value(
                path,
                Kind::Device,
                metas.map(|meta| (major(meta.rdev()), minor(meta.rdev()))),
            );
        }
        if options.modes && !kind.is_symlink() {
            let modes = metas.map(|meta| format!("{:o}", meta.mode() & 0o7777));
            self.value(path, Kind::Mode, modes);
        }
        if options.mtimes {
            self.value(
                path,
                Kind::Mtime,
                metas.map(|meta| (meta.mtime(), meta.mtime_nsec())),
            );
        }
        if options.owners {
            self.value(path, Kind::Owner, metas.map(|meta| (meta.uid(), meta.gid())));
        }
        if options.xattrs {
            self.xattrs(path, &paths);
        }
    }

    fn contents(&mut self, path: &Path, paths: &[PathBuf; 2], metas: [&Metadata; 2]) {
        self.value(path, Kind::Size, metas.map(Metadata::len));
        if let Some(offset) = first_difference(paths) {
            self.note(path, Kind::Content, format!("first difference at byte {offset}"));
        }
        if let Some(slack) = self.options.allocation_slack_bytes {
            // A block is 512 bytes here, whatever the file system's own block size.
            let [expected, actual] = metas.map(|meta| meta.blocks() * 512);
            if actual > expected + slack {
                let text = format!("{actual} bytes on disk, the original has {expected}");
                self.note(path, Kind::Allocation, text);
            }
        }
    }

    fn xattrs(&mut self, path: &Path, paths: &[PathBuf; 2]) {
        let [expected, actual] = paths.each_ref().map(|path| xattrs(path));
        let names: BTreeSet<&Vec<u8>> = expected.keys().chain(actual.keys()).collect();
        for name in names {
            let shown = String::from_utf8_lossy(name).into_owned();
            match (expected.get(name), actual.get(name)) {
                (Some(_), None) => self.note(path, Kind::Xattr, format!("{shown} is missing")),
                (None, Some(_)) => self.note(path, Kind::Xattr, format!("{shown} is not expected")),
                (a, b) if a != b => {
                    let lengths = [a, b].map(|value| value.map_or(0, Vec::len));
                    self.note(
                        path,
                        Kind::Xattr,
                        format!("{shown} has another value (lengths {lengths:?})"),
                    );
                }
                _ => {}
            }
        }
    }

    fn hard_links(&mut self, expected: &Groups, actual: &Groups) {
        let alone = BTreeSet::new();
        let paths: BTreeSet<&PathBuf> = expected.keys().chain(actual.keys()).collect();
        for path in paths {
            let groups = [expected, actual].map(|groups| groups.get(path).unwrap_or(&alone));
            self.value(path, Kind::HardLinks, groups);
        }
    }
}

/// Everything below a root by path, the root itself as the empty path.
fn walk(root: &Path) -> BTreeMap<PathBuf, Metadata> {
    let mut found = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        // Joining an empty path would add a slash, and a slash follows links.
        let full = if path.as_os_str().is_empty() {
            root.to_owned()
        } else {
            root.join(&path)
        };
        let meta = fs::symlink_metadata(&full).unwrap_or_else(|error| panic!("{full:?}: {error}"));
        if meta.is_dir() {
            let entries = fs::read_dir(&full).unwrap_or_else(|error| panic!("{full:?}: {error}"));
            todo.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
        }
        found.insert(path, meta);
    }
    found
}

/// For each path that shares its inode with others of the same tree: all of them.
type Groups = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

fn link_groups(tree: &BTreeMap<PathBuf, Metadata>) -> Groups {
    let mut by_inode: BTreeMap<(u64, u64), BTreeSet<PathBuf>> = BTreeMap::new();
    for (path, meta) in tree.iter().filter(|(_, meta)| meta.is_file() && meta.nlink() > 1) {
        by_inode
            .entry((meta.dev(), meta.ino()))
            .or_default()
            .insert(path.clone());
    }
    let shared = by_inode.into_values().filter(|group| group.len() > 1);
    shared
        .flat_map(|group| group.clone().into_iter().map(move |path| (path, group.clone())))
        .collect()
}

fn type_name(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    if kind.is_file() {
        "a file"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symlink"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() {
        "a character device"
    } else {
        "a block device"
    }
}

/// The offset of the first byte that differs; a file that ends early differs at its end.
fn first_difference(paths: &[PathBuf; 2]) -> Option<u64> {
    let open = |path: &PathBuf| File::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut files = paths.each_ref().map(open);
    let mut buffers = [vec![0; 64 << 10], vec![0; 64 << 10]];
    let mut offset = 0;
    loop {
        let mut filled = [0, 0];
        for side in 0..2 {
            filled[side] = fill(&mut files[side], &mut buffers[side]);
        }
        let [left, right] = [&buffers[0][..filled[0]], &buffers[1][..filled[1]]];
        if left != right {
            let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
            return Some(offset + same as u64);
        }
        if left.is_empty() {
            return None;
        }
        offset += left.len() as u64;
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    loop {
        match file.read(&mut buffer[filled..]).expect("read a file") {
            0 => return filled,
            count => filled += count,
        }
    }
}

/// Extended attributes by name. Those of the security modules are left out: the machine sets them, not the tree.
fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; llistxattr_query(path).unwrap_or(0)];
    let len = llistxattr(path, &mut names[..]).unwrap_or(0);
    names.truncate(len);
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let read = |name: &[u8]| {
        let len = lgetxattr_query(path, name).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let mut value = vec![0; len];
        let read = lgetxattr(path, name, &mut value[..]).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        value.truncate(read);
        value
    };
    names
        .filter(|name| !name.starts_with(b"security."))
        .map(|name| (name.to_vec(), read(name)))
        .collect()
}
