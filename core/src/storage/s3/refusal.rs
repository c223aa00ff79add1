//! What an S3 server says when it refuses: its codes say more than the numbers of HTTP. Pure.

use std::time::Duration;

use crate::{limits, storage::http::decide::Meaning};

/// The parts of an error document that matter. Empty where there is none, as in every answer to a HEAD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
}

impl Refusal {
    /// Of whatever came: not every refusal comes from an S3 server.
    pub(super) fn parse(text: &str) -> Self {
        Self {
            code: tag(text, "Code").unwrap_or_default(),
            message: tag(text, "Message").unwrap_or_default(),
        }
    }

    /// For people.
    pub(super) fn said(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => message.to_owned(),
            (code, "") => code.to_owned(),
            (code, message) => format!("{code}: {message}"),
        }
    }

    /// What the answer means with its code in view.
    pub(super) fn meaning(&self, by_number: Meaning) -> Meaning {
        match self.code.as_str() {
            "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "AuthorizationHeaderMalformed"
            | "AuthorizationQueryParametersError"
            | "AccountProblem"
            | "XAdminUserNotFound"
            | "AllAccessDisabled" => Meaning::Denied,
            "QuotaExceeded"
            | "EntityTooLarge"
            | "InsufficientStorage"
            | "XMinioStorageFull"
            | "NoSpaceLeft" => Meaning::Full,
            // What arrived was not what was sent, or not all of it: another try sends it again.
            "BadDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody"
            | "RequestTimeout"
            | "SlowDown"
            | "InternalError"
            | "ServiceUnavailable"
            | "OperationAborted" => match by_number {
                Meaning::Later(wait) => Meaning::Later(wait),
                _ => Meaning::Later(None),
            },
            // Something else than the file may be missing, and then nothing is known of the file.
            "" | "NoSuchKey" | "NoSuchVersion" | "NotFound" => by_number,
            _ if by_number == Meaning::Missing => Meaning::Unfit,
            _ => by_number,
        }
    }

    pub(super) fn is_missing_bucket(&self) -> bool {
        self.code == "NoSuchBucket"
    }

    /// How far the server's clock is ahead of the time that was signed, in seconds, where that must be the reason.
    ///
    /// Not every server says so: a signature that is too old may be called expired, and one of tomorrow simply denied.
    pub(super) fn skew(&self, status: u16, signed_at: i64, server_date: Option<i64>) -> Option<i64> {
        let ahead = server_date?.checked_sub(signed_at)?;
        let far =
            Duration::from_secs(ahead.unsigned_abs()) > Duration::from_millis(limits::CLOCK_SKEW_MS_MIN);
        let refused = matches!(status, 400 | 401 | 403);
        (refused && (far || self.code == "RequestTimeTooSkewed") && ahead != 0).then_some(ahead)
    }
}

/// The text in the first element of this name. Enough for a document of which nothing else is wanted.
fn tag(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    let value = value.trim().chars().filter(|c| !c.is_control()).take(200);
    Some(value.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: &str) -> Refusal {
        Refusal::parse(&format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Why.</Message></Error>"
        ))
    }

    #[test]
    fn a_code_says_more_than_a_number() {
        let refusal = code("ExpiredToken");
        assert_eq!(refusal.said(), "ExpiredToken: Why.");
        assert_eq!(refusal.meaning(Meaning::Unfit), Meaning::Denied);
        assert_eq!(code("QuotaExceeded").meaning(Meaning::Denied), Meaning::Full);
        let wait = Some(Duration::from_secs(3));
        assert_eq!(
            code("SlowDown").meaning(Meaning::Later(wait)),
            Meaning::Later(wait)
        );
        assert_eq!(code("BadDigest").meaning(Meaning::Unfit), Meaning::Later(None));
        assert_eq!(code("NoSuchKey").meaning(Meaning::Missing), Meaning::Missing);
        assert_eq!(Refusal::default().meaning(Meaning::Missing), Meaning::Missing);
        assert_eq!(code("NoSuchUpload").meaning(Meaning::Missing), Meaning::Unfit);
        assert!(code("NoSuchBucket").is_missing_bucket());
    }

    #[test]
    fn a_clock_is_wrong_only_where_the_servers_date_says_so() {
        let none = Refusal::default();
        assert_eq!(none.skew(403, 1000, Some(5000)), Some(4000));
        assert_eq!(none.skew(403, 5000, Some(1000)), Some(-4000));
        assert_eq!(none.skew(403, 1000, Some(1010)), None);
        assert_eq!(none.skew(403, 1000, None), None);
        assert_eq!(none.skew(404, 1000, Some(5000)), None);
        assert_eq!(code("RequestTimeTooSkewed").skew(403, 1000, Some(1010)), Some(10));
        assert_eq!(none.skew(403, i64::MIN, Some(i64::MAX)), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_refusal(text in ".{0,60}(<Code>.{0,20}(</Code>)?)?.{0,20}") {
            let _ = Refusal::parse(&text).said();
        }
    }
}
