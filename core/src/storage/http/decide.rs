//! What an answer means, before anyone believes it. Pure.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

/// What is known of an answer before its body is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::storage) struct Head {
    pub(in crate::storage) status: u16,
    pub(in crate::storage) content_type: Option<String>,
    /// Where a redirect leads.
    pub(in crate::storage) location: Option<String>,
    pub(in crate::storage) retry_after: Option<String>,
    /// What time it is for the server, as it wrote it.
    pub(in crate::storage) date: Option<String>,
    /// Numbers its requests as S3 does.
    pub(in crate::storage) is_s3: bool,
}

/// What it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) enum Meaning {
    Success,
    /// There is no such file.
    Missing,
    /// The bytes asked for are not in the file.
    PastEnd,
    Denied,
    /// Not a byte more.
    Full,
    /// Later; where the server said when, not before.
    Later(Option<Duration>),
    /// Someone else's answer: of a network that wants to be signed in to, or a redirect.
    Stranger(String),
    /// What this server lacks, or cannot make sense of.
    Unfit,
}

pub(in crate::storage) fn meaning(head: &Head) -> Meaning {
    match head.status {
        // Pages are for people. Whoever answers with one has not understood what was asked, whatever the number says.
        200..=299 | 404 | 416 if is_page(head) => {
            Meaning::Stranger("it answers with a web page, as networks do that want you to sign in".into())
        }
        200..=299 => Meaning::Success,
        300..=399 => {
            let to = head.location.as_deref().map_or_else(String::new, host_of);
            Meaning::Stranger(format!("it redirects to another place{to}"))
        }
        401 | 403 => Meaning::Denied,
        404 | 410 => Meaning::Missing,
        407 => Meaning::Stranger("a proxy in between wants to know who you are".into()),
        408 | 409 | 421 | 425 | 429 => Meaning::Later(wait(head)),
        413 | 507 => Meaning::Full,
        416 => Meaning::PastEnd,
        511 => Meaning::Stranger("the network wants you to sign in".into()),
        501 | 505 => Meaning::Unfit,
        500..=599 => Meaning::Later(wait(head)),
        _ => Meaning::Unfit,
    }
}

/// Whether this is a web page by what the server calls it. Some S3 servers call an empty answer one.
pub(in crate::storage) fn is_page(head: &Head) -> bool {
    if head.is_s3 {
        return false;
    }
    let kind = head.content_type.as_deref().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
}

/// Whether this is a web page by how it begins, whatever it is called. Nothing that is stored begins so.
pub(in crate::storage) fn begins_as_page(body: &[u8]) -> bool {
    let text = body.trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
    };
    begins("<!doctype html") || begins("<html") || begins("<head") || begins("<body")
}

/// Seconds, or a date; a date counts from the server's own time.
fn wait(head: &Head) -> Option<Duration> {
    let text = head.retry_after.as_deref()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = seconds_of(text)? - seconds_of(head.date.as_deref()?)?;
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

/// Seconds since 1970 in a date as HTTP writes it.
pub(in crate::storage) fn seconds_of(date: &str) -> Option<i64> {
    let parsed = DateTimeParser::new().parse_timestamp(date.trim());
    parsed.ok().map(jiff::Timestamp::as_second)
}

/// The host in a redirect's target, which alone is shown: the rest may hold what is nobody's business.
fn host_of(location: &str) -> String {
    let host = location
        .split_once("://")
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host.and_then(|host| host.rsplit('@').next()) {
        Some(host) if !host.is_empty() => format!(" ({host})"),
        _ => String::new(),
    }
}

/// The first and last byte and the size of the file, as in `bytes 0-99/1000`.
pub(in crate::storage) fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then_some((first, last, size))
}

/// How long nothing may move before a request is given up. What the operating system took of an upload may be on a slow link for a while
/// without any sign.
pub(in crate::storage) fn patience(stall: Duration, sent: u64) -> Duration {
    let buffered = sent.min(crate::limits::SOCKET_BUFFER_BYTES_MAX);
    stall + Duration::from_millis(buffered * 1000 / crate::limits::SLOWEST_LINK_BYTES_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16) -> Head {
        Head {
            status,
            ..Head::default()
        }
    }

    #[test]
    fn numbers_mean_what_a_host_acts_on() {
        for (statuses, expected) in [
            (&[200, 201, 204, 206][..], Meaning::Success),
            (&[401, 403], Meaning::Denied),
            (&[404, 410], Meaning::Missing),
            (
                &[408, 409, 425, 429, 500, 502, 503, 504, 599],
                Meaning::Later(None),
            ),
            (&[413, 507], Meaning::Full),
            (&[416], Meaning::PastEnd),
            (&[100, 400, 405, 412, 418, 501, 505], Meaning::Unfit),
        ] {
            for status in statuses {
                assert_eq!(meaning(&head(*status)), expected, "{status}");
            }
        }
    }

    #[test]
    fn a_login_page_is_never_success_nor_an_absence() {
        for status in [200, 201, 204, 206, 404, 302, 307, 407, 511] {
            let page = Head {
                content_type: Some("Text/HTML; charset=utf-8".into()),
                ..head(status)
            };
            assert!(matches!(meaning(&page), Meaning::Stranger(_)), "{status}");
        }
        let of_s3 = Head {
            content_type: Some("text/html".into()),
            is_s3: true,
            ..head(204)
        };
        assert_eq!(meaning(&of_s3), Meaning::Success);
        for page in ["<!DOCTYPE html>", "\n <HTML lang=en>", "<head>"] {
            assert!(begins_as_page(page.as_bytes()), "{page}");
        }
        for other in ["", "[]", "<?xml version=\"1.0\"?>", "<ListBucketResult>", "<ht"] {
            assert!(!begins_as_page(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_redirect_says_where_to_and_nothing_else() {
        let to = |location: &str| {
            let head = Head {
                location: Some(location.into()),
                ..head(302)
            };
            match meaning(&head) {
                Meaning::Stranger(why) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(to("http://u:p@portal.example/login?secret=1").ends_with("another place (portal.example)"));
        assert!(to("/login").ends_with("another place"));
    }

    #[test]
    fn the_wait_is_a_number_or_a_date_by_the_servers_clock() {
        let later = |retry_after: &str, date: &str| {
            meaning(&Head {
                retry_after: Some(retry_after.into()),
                date: Some(date.into()),
                ..head(503)
            })
        };
        let at = |text| Meaning::Later(Some(Duration::from_secs(text)));
        assert_eq!(later("120", ""), at(120));
        let (now, then) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:00 GMT");
        assert_eq!(later(then, now), at(23));
        assert_eq!(later(now, then), at(0));
        assert_eq!(later("soon", now), Meaning::Later(None));
        assert_eq!(later(then, ""), Meaning::Later(None));
    }

    #[test]
    fn ranges_are_believed_only_when_they_make_sense() {
        assert_eq!(content_range("bytes 0-99/1000"), Some((0, 99, 1000)));
        for broken in [
            "",
            "bytes */10",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "items 0-1/2",
            "bytes 0-1/*",
        ] {
            assert_eq!(content_range(broken), None, "{broken}");
        }
    }

    #[test]
    fn an_upload_may_wait_for_what_is_on_a_slow_link() {
        let stall = Duration::from_secs(30);
        assert_eq!(patience(stall, 0), stall);
        // 512 KiB at 64 kbit/s.
        assert_eq!(patience(stall, 512 * 1024), stall + Duration::from_secs(64));
        assert_eq!(
            patience(stall, u64::MAX),
            patience(stall, crate::limits::SOCKET_BUFFER_BYTES_MAX)
        );
    }
}
