//! Reading nodes as tolerantly as restic does.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess},
};

use super::{
    ExtendedAttribute, GenericAttributes, Node, NodeType, Timestamp, ZonedTimestamp,
    go_json_read::{GoBytes, KnownKey, StringVisitor, read_into, read_string},
    unquote,
};

#[rustfmt::skip]
const FIELDS: &[&str] = &[
    "name", "type", "mode", "mtime", "atime", "ctime", "uid", "gid", "user", "group", "inode", "device_id",
    "size", "links", "linktarget", "linktarget_raw", "extended_attributes", "generic_attributes", "device",
    "content", "subtree", "error",
];

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> de::Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node")
    }

    /// Go leaves the record as it was created where it reads `null`.
    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::new([], NodeType::Other("".into())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut node: Node = self.visit_unit()?;
        // These three have a stored form of their own and are finished when all fields are read.
        let (mut name, mut link_target, mut raw_target) = (String::new(), String::new(), None);
        while let Some(key) = map.next_key_seed(KnownKey(FIELDS))? {
            match key {
                Some("name") => read_string(&mut map, &mut name)?,
                Some("linktarget") => read_string(&mut map, &mut link_target)?,
                Some("linktarget_raw") => raw_target = map.next_value::<Option<GoBytes>>()?,
                Some(field) => node.read_field(field, &mut map)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                    node.unknown_fields = true;
                }
            }
        }
        node.name = unquote(&name).map_err(de::Error::custom)?;
        node.link_target = raw_target.map_or(link_target.into_bytes(), |GoBytes(target)| target);
        Ok(node)
    }
}

impl Node {
    fn read_field<'de, A: MapAccess<'de>>(&mut self, field: &str, map: &mut A) -> Result<(), A::Error> {
        match field {
            "type" => {
                if let Some(Word(node_type)) = map.next_value()? {
                    self.node_type = node_type;
                }
            }
            "mode" => read_into(map, &mut self.mode.0)?,
            "mtime" => read_time(map, &mut self.mtime)?,
            "atime" => read_time(map, &mut self.atime)?,
            "ctime" => read_time(map, &mut self.ctime)?,
            "uid" => read_into(map, &mut self.uid)?,
            "gid" => read_into(map, &mut self.gid)?,
            "user" => read_string(map, &mut self.user)?,
            "group" => read_string(map, &mut self.group)?,
            "inode" => read_into(map, &mut self.inode)?,
            "device_id" => read_into(map, &mut self.device_id)?,
            "size" => read_into(map, &mut self.size)?,
            "links" => read_into(map, &mut self.links)?,
            "extended_attributes" => {
                let attributes = map
                    .next_value::<Option<Vec<ReadAttribute>>>()?
                    .unwrap_or_default();
                self.unknown_fields |= attributes.iter().any(|read| read.unknown_fields);
                self.extended_attributes = attributes.into_iter().map(|read| read.attribute).collect();
            }
            "generic_attributes" => {
                self.generic_attributes = map.next_value::<Option<_>>()?.and_then(GenericAttributes::of);
            }
            "device" => read_into(map, &mut self.device)?,
            "content" => self.content = map.next_value()?,
            "subtree" => self.subtree = map.next_value()?,
            _ => read_string(map, &mut self.error)?,
        }
        Ok(())
    }
}

fn read_time<'de, A: MapAccess<'de>>(map: &mut A, time: &mut Timestamp) -> Result<(), A::Error> {
    let mut read = ZonedTimestamp::utc(*time);
    read_into(map, &mut read)?;
    *time = read.timestamp;
    Ok(())
}

struct Word(NodeType);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(StringVisitor(|word: Cow<'_, str>| {
            Ok(Self(NodeType::from(&*word)))
        }))
    }
}

#[derive(Default)]
struct ReadAttribute {
    attribute: ExtendedAttribute,
    unknown_fields: bool,
}

impl<'de> Deserialize<'de> for ReadAttribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AttributeVisitor)
    }
}

struct AttributeVisitor;

impl<'de> de::Visitor<'de> for AttributeVisitor {
    type Value = ReadAttribute;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an extended attribute")
    }

    fn visit_unit<E: de::Error>(self) -> Result<ReadAttribute, E> {
        Ok(ReadAttribute::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadAttribute, A::Error> {
        let mut read = ReadAttribute::default();
        while let Some(key) = map.next_key_seed(KnownKey(&["name", "value"]))? {
            match key {
                Some("name") => read_string(&mut map, &mut read.attribute.name)?,
                Some(_) => {
                    let value: Option<GoBytes> = map.next_value()?;
                    read.attribute.value = value.unwrap_or_default().0;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    read.unknown_fields = true;
                }
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(json: &str) -> Node {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn fields_match_without_regard_to_case_and_the_last_one_counts() {
        let node =
            decoded(r#"{"NAME":"a","name":"b","type":"file","SIZE":3,"sIze":4,"Content":[],"Mode":null}"#);
        assert_eq!(
            (node.name.as_slice(), node.size, node.content),
            (b"b".as_slice(), 4, Some(vec![]))
        );
        assert!(!node.unknown_fields);
    }

    #[test]
    fn null_changes_nothing_but_ends_lists() {
        let json = r#"{"name":"a","name":null,"type":"dir","type":null,"uid":1,"uid":null,"mtime":null,
            "content":[],"content":null,"subtree":null,"extended_attributes":null,"generic_attributes":null,
            "linktarget_raw":null,"linktarget":"t","user":null,"error":null}"#;
        let mut expected = Node::new("a", NodeType::Dir);
        (expected.uid, expected.link_target) = (1, b"t".to_vec());
        assert_eq!(decoded(json), expected);
        assert_eq!(decoded("null").name, b"");
    }

    #[test]
    fn unknown_fields_are_skipped_and_noticed() {
        assert!(decoded(r#"{"name":"a","future":{"x":[1,"2",null]}}"#).unknown_fields);
        assert!(decoded(r#"{"name":"a","extended_attributes":[{"name":"x","flags":1}]}"#).unknown_fields);
        assert!(
            !decoded(r#"{"name":"a","extended_attributes":[{"NAME":"x","Value":"eA=="}]}"#).unknown_fields
        );
    }

    #[test]
    fn raw_link_target_overrides() {
        let node = decoded(r#"{"name":"l","type":"symlink","linktarget_raw":"/w==","linktarget":"\ufffd"}"#);
        assert_eq!(node.link_target, b"\xff");
    }

    #[test]
    fn values_of_another_type_are_refused() {
        for field in [
            r#""name":1"#,
            r#""name":"\"""#,
            r#""size":-1"#,
            r#""size":1.0"#,
            r#""size":"1""#,
            r#""mode":4294967296"#,
            r#""uid":4294967296"#,
            r#""mtime":5"#,
            r#""mtime":"yesterday""#,
            r#""content":[null]"#,
            r#""content":["00"]"#,
            r#""subtree":"""#,
            r#""linktarget_raw":"/w""#,
            r#""generic_attributes":[]"#,
        ] {
            assert!(
                serde_json::from_str::<Node>(&format!("{{{field}}}")).is_err(),
                "{field}"
            );
        }
    }
}
