//! How serde walks through an index, one pack at a time.
//!
//! Written out by hand for two reasons: derived code would collect all packs before it returns, and it knows
//! neither names in any case nor fields that come twice, of which the last one counts.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{PackEntry, PackId};

/// The name of a field: the one of these that it equals but for case, as in Go.
struct Field(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Field {
    type Value = Option<&'static str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Field {
    type Value = Option<&'static str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self
            .0
            .iter()
            .find(|name| name.eq_ignore_ascii_case(text))
            .copied())
    }
}

/// The document. Its packs go to the closure.
pub(super) struct Index<'a, F>(pub(super) &'a mut F);

impl<'de, F> Visitor<'de> for Index<'_, F>
where
    F: FnMut(PackId, Vec<PackEntry>) -> Result<(), &'static str>,
{
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an index")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(field) = fields.next_key_seed(Field(&["packs"]))? {
            match field {
                // The last one would count, but the packs of the first are already handed over.
                Some(_) if seen => return Err(de::Error::duplicate_field("packs")),
                Some(_) => fields.next_value_seed(Each(Pack(&mut *self.0)))?,
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
            seen |= field.is_some();
        }
        Ok(())
    }
}

/// A list, or nothing for `null`, of what a visitor takes by itself.
struct Each<V>(V);

/// What happens with each element of a list.
trait Element {
    fn element<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error>;
}

/// An element on its way through serde.
struct One<'a, T>(&'a mut T);

impl<'de, T: Element> DeserializeSeed<'de> for One<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.element(deserializer)
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for Each<T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Each<T> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(One(&mut self.0))?.is_some() {}
        Ok(())
    }
}

/// A pack in the list of packs.
struct Pack<'a, F>(&'a mut F);

impl<F> Element for Pack<'_, F>
where
    F: FnMut(PackId, Vec<PackEntry>) -> Result<(), &'static str>,
{
    fn element<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        let (id, entries) = deserializer.deserialize_map(PackFields)?;
        (self.0)(id, entries).map_err(de::Error::custom)
    }
}

struct PackFields;

impl<'de> Visitor<'de> for PackFields {
    type Value = (PackId, Vec<PackEntry>);
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pack")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let (mut id, mut entries) = (None, Vec::new());
        while let Some(field) = fields.next_key_seed(Field(&["id", "blobs"]))? {
            match field {
                Some("id") => id = Some(fields.next_value()?),
                Some(_) => {
                    entries.clear();
                    fields.next_value_seed(Each(Blobs(&mut entries)))?;
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok((id.ok_or_else(|| de::Error::missing_field("id"))?, entries))
    }
}

/// The blobs of a pack, collected.
struct Blobs<'a>(&'a mut Vec<PackEntry>);

impl Element for Blobs<'_> {
    fn element<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        self.0.push(deserializer.deserialize_map(BlobFields)?);
        Ok(())
    }
}

struct BlobFields;

impl<'de> Visitor<'de> for BlobFields {
    type Value = PackEntry;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a blob")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<PackEntry, A::Error> {
        const KNOWN: &[&str] = &["id", "type", "offset", "length", "uncompressed_length"];
        let (mut id, mut blob_type, mut offset, mut length, mut uncompressed) =
            (None, None, None, None, None);
        while let Some(field) = fields.next_key_seed(Field(KNOWN))? {
            match field {
                Some("id") => id = Some(fields.next_value()?),
                Some("type") => blob_type = Some(fields.next_value()?),
                Some("offset") => offset = Some(fields.next_value()?),
                Some("length") => length = Some(fields.next_value()?),
                Some(_) => uncompressed = fields.next_value()?,
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let missing = de::Error::missing_field;
        Ok(PackEntry {
            id: id.ok_or_else(|| missing("id"))?,
            blob_type: blob_type.ok_or_else(|| missing("type"))?,
            length: length.ok_or_else(|| missing("length"))?,
            // Zero is how restic says that there is none.
            uncompressed_length: uncompressed.filter(|&length| length != 0),
            offset: offset.ok_or_else(|| missing("offset"))?,
        })
    }
}
