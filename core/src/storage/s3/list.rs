//! A page of a listing. Pure.

use std::io::Read;

use rusty_s3::actions::ListObjectsV2;

use super::sign::Target;
use crate::{
    error::{Error, Kind, Result},
    format::{FileId, FileType},
};

/// Adds the files of a page to those that were found; returns where the next page begins.
pub(super) fn add_page(
    target: &Target,
    kind: FileType,
    doing: &str,
    body: &[u8],
    found: &mut Vec<(FileId, u64)>,
) -> Result<Option<String>> {
    let unreadable = |why: String| {
        let text = format!("{doing}: the vault's listing cannot be read: {why}");
        Error::new(Kind::WrongServer, text)
    };
    if !has_root(body) {
        return Err(unreadable("it is not one of S3".into()));
    }
    let page = ListObjectsV2::parse_response_from_reader(body.take(body.len() as u64))
        .map_err(|error| unreadable(error.to_string()))?;
    let files = page.contents.iter();
    found.extend(files.filter_map(|file| Some((target.listed(kind, &file.key)?, file.size))));
    Ok(page.next_continuation_token.filter(|token| !token.is_empty()))
}

/// The parser takes any document for an empty listing.
fn has_root(body: &[u8]) -> bool {
    let begin = body.get(..body.len().min(512)).unwrap_or_default();
    String::from_utf8_lossy(begin).contains("<ListBucketResult")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{S3Address, S3Options};

    type Page = (Vec<(FileId, u64)>, Option<String>);

    fn page(body: &str) -> Result<Page> {
        let address: S3Address = "host/b/p".parse().unwrap();
        let target = Target::new(&address, &S3Options::default()).unwrap();
        let mut found = vec![];
        let next = add_page(&target, FileType::Key, "x", body.as_bytes(), &mut found)?;
        Ok((found, next))
    }

    #[test]
    fn a_page_gives_the_files_of_its_kind_and_where_the_next_begins() {
        let id = FileId::of(b"a");
        let body = format!(
            "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>\
             <Contents><Key>p/keys/{id}</Key><LastModified>x</LastModified><ETag>\"e\"</ETag><Size>7</Size></Contents>\
             <Contents><Key>p%2Fkeys%2Fother</Key><LastModified>x</LastModified><ETag>\"e\"</ETag><Size>8</Size>\
             </Contents></ListBucketResult>"
        );
        assert_eq!(page(&body).unwrap(), (vec![(id, 7)], Some("a&b".into())));
    }

    #[test]
    fn what_is_no_listing_is_not_an_empty_one() {
        for broken in [
            "",
            "{}",
            "<html></html>",
            "<?xml version=\"1.0\"?><Error/>",
            "<ListBucketResult><Contents><Size>x</Size>",
        ] {
            assert_eq!(page(broken).unwrap_err().kind(), Kind::WrongServer, "{broken}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_a_page_or_an_error(rest in "[<>/A-Za-z0-9&;%]{0,100}") {
            let _ = page(&format!("<ListBucketResult>{rest}"));
        }
    }
}
