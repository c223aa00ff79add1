//! Reading parts of files over HTTP, where servers answer with less, with more, or with all.

use std::ops::Range;

use http::{HeaderValue, header};

use super::{
    Storage, file_name,
    http::{Answer, decide::content_range, failure},
    not_found,
};
use crate::{
    error::{Error, Kind, Result},
    format::{FileId, FileType},
};

/// The header that asks for a range; none for an empty one, which HTTP cannot ask for.
pub(super) fn range_header(range: &Range<u64>) -> Result<Option<HeaderValue>> {
    if range.start >= range.end {
        return Ok(None);
    }
    let text = format!("bytes={}-{}", range.start, range.end - 1);
    let value = HeaderValue::try_from(text);
    value
        .map(Some)
        .map_err(|error| Error::with_source(Kind::Bug, "writing a range", error))
}

/// An empty part of a file, which still must be inside it.
pub(super) async fn empty_part(
    storage: &dyn Storage,
    kind: FileType,
    id: &FileId,
    range: &Range<u64>,
) -> Result<Vec<u8>> {
    match storage.size(kind, id).await? {
        None => Err(not_found(kind, id)),
        Some(size) if range.start == range.end && range.end <= size => Ok(vec![]),
        Some(size) => Err(past_end(kind, id, size, range)),
    }
}

/// The bytes of `range` in a successful answer to a request for them.
pub(super) async fn part(
    answer: Answer<'_>,
    kind: FileType,
    id: &FileId,
    doing: &str,
    (range, buffer): (Range<u64>, Vec<u8>),
) -> Result<Vec<u8>> {
    let described = answer
        .header(header::CONTENT_RANGE.as_str())
        .and_then(content_range);
    let Some((first, last, size)) = described.filter(|_| answer.head.status == 206) else {
        let why = "asked for a part of a file, it gives something else";
        return Err(failure::stranger(doing, why));
    };
    if range.end > size {
        return Err(past_end(kind, id, size, &range));
    }
    let wanted = range.end - range.start;
    if first != range.start || last != range.end - 1 {
        return Err(failure::cut_short(doing, last + 1 - first, wanted));
    }
    let bytes = answer.read_into(wanted, buffer).await?;
    if bytes.len() as u64 == wanted {
        Ok(bytes)
    } else {
        Err(failure::cut_short(doing, bytes.len() as u64, wanted))
    }
}

fn past_end(kind: FileType, id: &FileId, size: u64, range: &Range<u64>) -> Error {
    let text = format!(
        "{} has {size} bytes, and bytes {} to {} are needed",
        file_name(kind, id),
        range.start,
        range.end
    );
    Error::new(Kind::Damaged, text)
}
