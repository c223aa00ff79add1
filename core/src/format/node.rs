//! One entry of a directory, as a tree stores it.

use std::{collections::BTreeMap, ffi::OsStr, os::unix::ffi::OsStrExt};

use serde_json::value::RawValue;

use super::{
    BlobId, FileMode, FormatError, NodeType, Timestamp,
    go_json::{ObjectWriter, write_array, write_base64, write_compact, write_hex_string},
    go_json_read::GoString,
    quote,
};

/// A file, directory or other thing in a directory.
///
/// Whatever restic's decoder reads can be held here, also what no restore may follow. A name becomes part of a path by
/// [`Node::safe_name`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The bytes of the name, not quoted, as they come from storage.
    pub name: Vec<u8>,
    pub node_type: NodeType,
    pub mode: FileMode,
    pub mtime: Timestamp,
    /// restic stores the time of modification here as well, unless told otherwise.
    pub atime: Timestamp,
    pub ctime: Timestamp,
    pub uid: u32,
    pub gid: u32,
    pub user: String,
    pub group: String,
    pub inode: u64,
    /// `st_dev`.
    pub device_id: u64,
    /// Bytes of a file; zero for everything else.
    pub size: u64,
    /// Names of the same inode. Two files with equal inode and device are restored as one if the first has more than
    /// one link, whatever their contents.
    pub links: u64,
    /// The bytes of a symbolic link's target; empty for everything else.
    pub link_target: Vec<u8>,
    /// In the order in which the system listed them.
    pub extended_attributes: Vec<ExtendedAttribute>,
    pub generic_attributes: Option<GenericAttributes>,
    /// `st_rdev` of a device.
    pub device: u64,
    /// The blobs of a file in order. An empty file has an empty list; a file without a list is damaged.
    pub content: Option<Vec<BlobId>>,
    /// The tree of a directory.
    pub subtree: Option<BlobId>,
    /// What went wrong at backup; written by old versions of restic.
    pub error: String,
    /// The stored form has fields that this record does not know: encoding it again loses them.
    pub unknown_fields: bool,
}

/// An attribute that a file system keeps under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtendedAttribute {
    pub name: String,
    pub value: Vec<u8>,
}

/// Attributes of one operating system that only it understands: a JSON object that is not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenericAttributes(Box<str>);

/// Why a name must not become part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeName {
    #[error("a name is empty")]
    Empty,
    #[error("a name is \".\" or \"..\", which would lead elsewhere")]
    Dots,
    #[error("a name holds a slash")]
    Slash,
    #[error("a name holds a null byte")]
    Nul,
}

impl Node {
    /// A node without metadata. A file gets an empty content list, everything else none; all times are
    /// [`Timestamp::YEAR_ONE`], which a restore would apply, so set them.
    pub fn new(name: impl Into<Vec<u8>>, node_type: NodeType) -> Self {
        let content = (node_type == NodeType::File).then(Vec::new);
        Self {
            name: name.into(),
            node_type,
            mode: FileMode::default(),
            mtime: Timestamp::YEAR_ONE,
            atime: Timestamp::YEAR_ONE,
            ctime: Timestamp::YEAR_ONE,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            link_target: Vec::new(),
            extended_attributes: Vec::new(),
            generic_attributes: None,
            device: 0,
            content,
            subtree: None,
            error: String::new(),
            unknown_fields: false,
        }
    }

    /// The name, if it names an entry of its directory and nothing else.
    pub fn safe_name(&self) -> Result<&OsStr, UnsafeName> {
        match self.name.as_slice() {
            b"" => Err(UnsafeName::Empty),
            b"." | b".." => Err(UnsafeName::Dots),
            name if name.contains(&b'/') => Err(UnsafeName::Slash),
            name if name.contains(&0) => Err(UnsafeName::Nul),
            name => Ok(OsStr::from_bytes(name)),
        }
    }

    /// Appends the canonical JSON. `offset_of` gives seconds ahead of UTC for an instant.
    pub(crate) fn write(&self, offset_of: impl Fn(Timestamp) -> i32, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::begin(out);
        object.string("name", quote(&self.name).as_bytes());
        object.string("type", self.node_type.as_str().as_bytes());
        object.number_unless_zero("mode", self.mode.0.into());
        for (key, time) in [
            ("mtime", self.mtime),
            ("atime", self.atime),
            ("ctime", self.ctime),
        ] {
            let out = object.key(key);
            out.push(b'"');
            time.write(offset_of(time), out);
            out.push(b'"');
        }
        object.number("uid", self.uid.into());
        object.number("gid", self.gid.into());
        object.string_unless_empty("user", self.user.as_bytes());
        object.string_unless_empty("group", self.group.as_bytes());
        object.number_unless_zero("inode", self.inode);
        object.number_unless_zero("device_id", self.device_id);
        object.number_unless_zero("size", self.size);
        object.number_unless_zero("links", self.links);
        object.string_unless_empty("linktarget", &self.link_target);
        if std::str::from_utf8(&self.link_target).is_err() {
            write_base64(object.key("linktarget_raw"), &self.link_target);
        }
        if !self.extended_attributes.is_empty() {
            let out = object.key("extended_attributes");
            write_array(out, &self.extended_attributes, |out, attribute| {
                attribute.write(out)
            });
        }
        if let Some(attributes) = &self.generic_attributes {
            object
                .key("generic_attributes")
                .extend_from_slice(attributes.0.as_bytes());
        }
        object.number_unless_zero("device", self.device);
        match &self.content {
            Some(blobs) => {
                write_array(object.key("content"), blobs, |out, id| {
                    write_hex_string(out, id.as_bytes())
                });
            }
            None => object.key("content").extend_from_slice(b"null"),
        }
        if let Some(subtree) = &self.subtree {
            object.hex("subtree", subtree.as_bytes());
        }
        object.string_unless_empty("error", self.error.as_bytes());
        object.end();
    }
}

impl ExtendedAttribute {
    fn write(&self, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::begin(out);
        object.string("name", self.name.as_bytes());
        write_base64(object.key("value"), &self.value);
        object.end();
    }
}

impl GenericAttributes {
    /// `json` must be an object. Keys are sorted, white space is dropped, values stay as they are written.
    /// `None` if the object has no keys: such a field is not stored.
    pub fn parse(json: &str) -> Result<Option<Self>, FormatError> {
        serde_json::from_str(json)
            .map(Self::of)
            .map_err(|error| FormatError::malformed(format!("generic attributes: {error}")))
    }

    /// A JSON object, compact.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    pub(super) fn of(attributes: BTreeMap<GoString, Box<RawValue>>) -> Option<Self> {
        if attributes.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        let mut object = ObjectWriter::begin(&mut out);
        for (GoString(name), value) in attributes {
            write_compact(object.key(&name), value.get());
        }
        object.end();
        Some(Self(String::from_utf8_lossy(&out).into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(node: &Node) -> String {
        let mut out = Vec::new();
        node.write(|_| 0, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn decoded(json: &str) -> Node {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    const TIMES: &str =
        r#""mtime":"0001-01-01T00:00:00Z","atime":"0001-01-01T00:00:00Z","ctime":"0001-01-01T00:00:00Z""#;

    #[test]
    fn only_what_restic_always_writes_is_always_written() {
        let expected = |kind, content| {
            format!(r#"{{"name":"n","type":"{kind}",{TIMES},"uid":0,"gid":0,"content":{content}}}"#)
        };
        assert_eq!(encoded(&Node::new("n", NodeType::File)), expected("file", "[]"));
        assert_eq!(encoded(&Node::new("n", NodeType::Fifo)), expected("fifo", "null"));
    }

    #[test]
    fn a_link_target_that_is_not_text_is_written_twice() {
        let mut node = Node::new("l", NodeType::Symlink);
        node.link_target = b"\xff".to_vec();
        assert!(encoded(&node).contains(r#""linktarget":"\ufffd","linktarget_raw":"/w==","content":null"#));
        node.link_target = "é".into();
        assert!(encoded(&node).contains(r#""linktarget":"é","content":null"#));
    }

    #[test]
    fn generic_attributes_are_sorted_and_otherwise_left_alone() {
        let node = decoded(
            r#"{"name":"a","generic_attributes":{ "b": {"y" : 1.50, "x":"<\u003e"} , "a":18446744073709551616, "b2":null}}"#,
        );
        let json = r#"{"a":18446744073709551616,"b":{"y":1.50,"x":"\u003c\u003e"},"b2":null}"#;
        assert_eq!(
            node.generic_attributes.as_ref().map(GenericAttributes::as_json),
            Some(json)
        );
        assert_eq!(decoded(&encoded(&node)), node);
        assert_eq!(GenericAttributes::parse(json).unwrap(), node.generic_attributes);
        assert_eq!(GenericAttributes::parse(" {} ").unwrap(), None);
        assert!(GenericAttributes::parse("[1]").is_err());
    }

    #[test]
    fn only_names_of_entries_are_safe() {
        let safe = |name: &[u8]| Node::new(name, NodeType::File).safe_name().map(OsStr::to_owned);
        assert_eq!(safe(b""), Err(UnsafeName::Empty));
        assert_eq!(safe(b"."), Err(UnsafeName::Dots));
        assert_eq!(safe(b".."), Err(UnsafeName::Dots));
        assert_eq!(safe(b"a/b"), Err(UnsafeName::Slash));
        assert_eq!(safe(b"/"), Err(UnsafeName::Slash));
        assert_eq!(safe(b"a\0"), Err(UnsafeName::Nul));
        for name in [b"...".as_slice(), b"..a", b"\xff", b"\\"] {
            assert_eq!(safe(name).unwrap().as_bytes(), name);
        }
    }

    fn any_node() -> impl Strategy<Value = Node> {
        let text = || ".{0,8}";
        let time = || (-62_167_219_200_i64..253_402_300_800, 0..1_000_000_000_u32);
        let attributes = prop::collection::vec((text(), any::<Vec<u8>>()), 0..3);
        (
            (any::<Vec<u8>>(), text(), any::<u32>(), time(), time(), time()),
            (any::<u32>(), any::<u32>(), text(), text(), any::<[u64; 5]>()),
            (
                any::<Vec<u8>>(),
                attributes,
                any::<Option<Vec<[u8; 32]>>>(),
                any::<Option<[u8; 32]>>(),
                text(),
            ),
        )
            .prop_map(|(a, b, c)| {
                let time = |(seconds, nanos)| Timestamp::new(seconds, nanos).unwrap();
                let [inode, device_id, size, links, device] = b.4;
                Node {
                    name: a.0,
                    node_type: NodeType::from(a.1.as_str()),
                    mode: FileMode(a.2),
                    mtime: time(a.3),
                    atime: time(a.4),
                    ctime: time(a.5),
                    uid: b.0,
                    gid: b.1,
                    user: b.2,
                    group: b.3,
                    inode,
                    device_id,
                    size,
                    links,
                    link_target: c.0,
                    extended_attributes: (c.1.into_iter())
                        .map(|(name, value)| ExtendedAttribute { name, value })
                        .collect(),
                    generic_attributes: None,
                    device,
                    content: c.2.map(|ids| ids.into_iter().map(BlobId::from_bytes).collect()),
                    subtree: c.3.map(BlobId::from_bytes),
                    error: c.4,
                    unknown_fields: false,
                }
            })
    }

    proptest! {
        #[test]
        fn any_node_survives(node in any_node()) {
            prop_assert_eq!(decoded(&encoded(&node)), node);
        }

        #[test]
        fn no_change_to_a_stored_node_makes_reading_panic(node in any_node(), at: prop::sample::Index, byte: u8) {
            let mut json = encoded(&node).into_bytes();
            let at = at.index(json.len());
            json[at] = byte;
            let _ = serde_json::from_slice::<Node>(&json);
        }
    }
}
