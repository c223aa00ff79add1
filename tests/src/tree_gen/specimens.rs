//! One of each odd thing, in folders by theme.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{MAIN_SEPARATOR_STR, PathBuf},
};

use rustix::fs::FileType;

use super::{names::odd_names, planter::Planter};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

pub fn plant(planter: &mut Planter) {
    sizes(planter);
    twins(planter);
    holes(planter);
    hard_links(planter);
    symlinks(planter);
    folders(planter);
    names(planter);
    modes(planter);
    xattrs(planter);
    nodes(planter);
}

/// Around the borders where chunkers and buffers change their minds.
fn sizes(planter: &mut Planter) {
    planter.dir("sizes");
    let borders = [4 * KIB, 64 * KIB, 512 * KIB, 2 * MIB];
    let around = borders
        .iter()
        .flat_map(|border| [border - 1, *border, border + 1]);
    for len in [0, 1, 2].into_iter().chain(around).chain([5 * MIB + 12_345]) {
        let content = planter.rng.bytes(len);
        planter.file(format!("sizes/random-{len}"), &content);
    }
    let content = planter.rng.text(3 * MIB + 7);
    planter.file("sizes/text", &content);
    planter.file("sizes/zeros", &vec![0; 9 * MIB]);
    // Text with random islands: neither compressible nor not.
    let mut mixed = planter.rng.text(MIB);
    let island = planter.rng.bytes(100 * KIB);
    mixed[300 * KIB..400 * KIB].copy_from_slice(&island);
    planter.file("sizes/mixed", &mixed);
}

/// Equal and nearly equal contents.
fn twins(planter: &mut Planter) {
    planter.dir("twins");
    let content = planter.rng.bytes(MIB + 100);
    for name in ["twins/one", "twins/two", "twins/three"] {
        planter.file(name, &content);
    }
    planter.file("twins/shifted", &[b"x", content.as_slice()].concat());
    planter.file("twins/doubled", &[content.as_slice(), &content].concat());
}

fn holes(planter: &mut Planter) {
    planter.dir("holes");
    let data = planter.rng.bytes(10 * KIB);
    let len = 8 * MIB as u64;
    planter.sparse("holes/nothing", len, &[]);
    planter.sparse("holes/at the end", len, &[(0, &data)]);
    planter.sparse("holes/at the start", len, &[(len - data.len() as u64, &data)]);
    planter.sparse(
        "holes/between",
        len,
        &[(0, &data), (3 * MIB as u64 + 5, &data), (len - 20_000, &data)],
    );
}

fn hard_links(planter: &mut Planter) {
    planter.dir("hard links/below");
    let content = planter.rng.bytes(20 * KIB);
    planter.file("hard links/one", &content);
    planter.hard_link("hard links/one", "hard links/two");
    planter.hard_link("hard links/one", "hard links/below/three");
    // The same content, but a file of its own: not to be linked to the others.
    planter.file("hard links/not linked", &content);
    planter.file("hard links/empty", b"");
    planter.hard_link("hard links/empty", "hard links/empty too");
}

fn symlinks(planter: &mut Planter) {
    planter.dir("symlinks/folder");
    planter.file("symlinks/folder/file", b"reached through links");
    planter.symlink("symlinks/relative", "folder/file");
    planter.symlink("symlinks/upwards", "../symlinks/folder/../folder/file");
    planter.symlink("symlinks/to a folder", "folder");
    planter.symlink("symlinks/dangling", "nothing/here");
    planter.symlink("symlinks/absolute", "/etc/hostname");
    planter.symlink("symlinks/absolute dangling", "/no/such/file");
    planter.symlink("symlinks/itself", "itself");
    planter.symlink("symlinks/to the parent", "..");
    planter.symlink("symlinks/long", "x/".repeat(1_000));
    planter.symlink(
        "symlinks/odd target",
        OsString::from_vec(b"new\nline \"quote\" \xff\xfe \\".to_vec()),
    );
}

fn folders(planter: &mut Planter) {
    planter.dir("folders/empty");
    planter.dir("folders/only folders/in here/and here");
    // 60 levels, still far below the longest path.
    let deep = PathBuf::from(vec!["level"; 60].join(MAIN_SEPARATOR_STR));
    let deep = PathBuf::from("folders").join(deep);
    planter.dir(&deep);
    planter.file(deep.join("bottom"), b"far down");
    planter.dir("folders/many");
    for number in 0..400 {
        planter.file(format!("folders/many/{number}"), number.to_string().as_bytes());
    }
}

fn names(planter: &mut Planter) {
    planter.dir("names");
    for (number, name) in odd_names().into_iter().enumerate() {
        let path = PathBuf::from("names").join(OsString::from_vec(name));
        // Folders have names, too.
        if number % 5 == 4 {
            planter.dir(&path);
            planter.file(path.join("inside"), number.to_string().as_bytes());
        } else {
            planter.file(&path, number.to_string().as_bytes());
        }
    }
}

fn modes(planter: &mut Planter) {
    planter.dir("modes");
    for mode in [0o4755, 0o2755, 0o1644, 0o7777, 0o777, 0o444, 0o401] {
        let name = format!("modes/{mode:o}");
        planter.file(&name, b"mode");
        planter.mode(&name, mode);
    }
    for mode in [0o1777, 0o2775, 0o711] {
        let name = format!("modes/folder-{mode:o}");
        planter.dir(&name);
        planter.file(format!("{name}/inside"), b"mode");
        planter.mode(&name, mode);
    }
    // Others cannot read their own files of mode 0, nor give files away.
    if planter.is_root {
        planter.file("modes/none", b"nobody reads this");
        planter.mode("modes/none", 0);
        planter.dir("modes/folder-none");
        planter.file("modes/folder-none/inside", b"hidden");
        planter.mode("modes/folder-none", 0);
        for (name, uid, gid) in [
            ("app", 10_123, 10_123),
            ("nobody", 65_534, 65_534),
            ("large", 4_000_000_000, 1),
        ] {
            let name = format!("modes/owned by {name}");
            planter.file(&name, b"owned");
            planter.owner(&name, uid, gid);
            planter.mode(&name, 0o6750);
        }
        planter.symlink("modes/link owned by app", "none");
        planter.owner("modes/link owned by app", 10_123, 10_123);
    }
}

fn xattrs(planter: &mut Planter) {
    planter.dir("xattrs/folder");
    planter.file("xattrs/file", b"with attributes");
    planter.mode("xattrs/file", 0o644);
    let binary: Vec<u8> = (0..=255).collect();
    let entries: [(&str, &[u8]); 5] = [
        ("user.empty", b""),
        ("user.text", "caf\u{e9}".as_bytes()),
        ("user.binary", &binary),
        ("user.name with spaces and \u{f6}", b"1"),
        ("user.large", &[b'x'; 1500]),
    ];
    for (key, value) in entries {
        planter.xattr("xattrs/file", key, value);
    }
    planter.xattr("xattrs/folder", "user.folder", b"too");
    planter.file("xattrs/none", b"without attributes");
}

fn nodes(planter: &mut Planter) {
    planter.dir("nodes");
    planter.fifo("nodes/fifo");
    planter.mode("nodes/fifo", 0o622);
    if planter.is_root {
        planter.device("nodes/null", FileType::CharacterDevice, 1, 3);
        planter.device("nodes/large numbers", FileType::BlockDevice, 259, 70_000);
    }
}
