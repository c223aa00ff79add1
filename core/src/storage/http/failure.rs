//! From what went wrong on the way to an error with a kind and an advice. No address with a signature or a password in it gets into one.

use std::{error::Error as StdError, io, time::Duration};

use rustls::{AlertDescription, CertificateError, OtherError};

use super::{decide::Meaning, trust::Refused};
use crate::error::{Error, Kind, Place};

/// What helps against a login page, a redirect or a certificate that nobody knows.
const NOT_THE_VAULT: &str = "if this network has a login page, sign in there or use another network";

/// The error for an answer that is no success. `said` is the server's own text, where it is of use.
pub(in crate::storage) fn refused(meaning: &Meaning, status: u16, doing: &str, said: &str) -> Error {
    let said = match said {
        "" => String::new(),
        said => format!(" ({said})"),
    };
    match meaning {
        Meaning::Denied => Error::new(
            Kind::AccessDenied,
            format!(
                "{doing}: the vault refused access{said}; see whether the credentials are right and allow this"
            ),
        ),
        Meaning::Full => Error::new(
            Kind::OutOfSpace(Place::Vault),
            format!(
                "{doing}: the vault takes no more{said}; make room there, then do the same again: what was done is kept"
            ),
        ),
        Meaning::Later(wait) => {
            let text = format!("{doing}: the vault cannot do this now, status {status}{said}");
            Error::new(Kind::Unreachable, text).with_retry_after(*wait)
        }
        Meaning::Stranger(why) => stranger(doing, why),
        Meaning::Missing => Error::new(Kind::NotFound, format!("{doing}: not in the vault{said}")),
        Meaning::PastEnd => Error::new(
            Kind::Damaged,
            format!("{doing}: the file is shorter than what is needed of it"),
        ),
        Meaning::Success | Meaning::Unfit => Error::new(
            Kind::WrongServer,
            format!(
                "{doing}: an answer that no vault gives, status {status}{said}; see whether the address is right"
            ),
        ),
    }
}

pub(in crate::storage) fn stranger(doing: &str, why: &str) -> Error {
    let text = format!("{doing}: what answers is not the vault: {why}; {NOT_THE_VAULT}");
    Error::new(Kind::WrongServer, text)
}

/// Fewer bytes than were announced or asked for.
pub(in crate::storage) fn cut_short(doing: &str, got: u64, expected: u64) -> Error {
    let text = format!("{doing}: the answer ended after {got} of {expected} bytes");
    Error::new(Kind::Unreachable, text)
}

pub(super) fn stalled(doing: &str, patience: Duration) -> Error {
    let text = format!(
        "{doing}: no byte has moved for {} seconds",
        patience.as_secs_f32()
    );
    Error::new(Kind::Unreachable, text)
}

/// The error for a request without an answer.
pub(super) fn transport(doing: &str, error: reqwest::Error) -> Error {
    // The address of an S3 request holds its signature.
    let error = error.without_url();
    if let Some(tls) = cause::<rustls::Error>(&error) {
        return tls_failed(doing, tls);
    }
    // The file that was being sent could not be read: not the network's fault.
    if error.is_body()
        && let Some(local) = cause::<io::Error>(&error)
        && local.kind() == io::ErrorKind::Other
    {
        let text = format!("{doing}: reading what is to be sent failed: {local}");
        return Error::new(Kind::Io, text);
    }
    let what = if error.is_connect() {
        "no connection to the vault"
    } else {
        "the connection to the vault broke"
    };
    Error::with_source(
        Kind::Unreachable,
        format!("{doing}: {what}"),
        Chain(&error).to_string(),
    )
}

fn tls_failed(doing: &str, error: &rustls::Error) -> Error {
    use rustls::Error as Tls;
    let why = match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "nobody that is trusted vouches for its certificate; if that is a private authority's, give its certificate"
        }
        Tls::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid today; see whether the clock of this device is right",
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name",
        Tls::InvalidCertificate(CertificateError::Other(OtherError(other))) if other.is::<Refused>() => {
            &format!("the app does not trust its certificate: {other}")
        }
        Tls::InvalidCertificate(_) => "its certificate is not valid",
        Tls::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate of this device, which is not supported"
        }
        Tls::InvalidMessage(_) => "it does not speak TLS; see whether the address should begin with http:",
        _ => "no secure connection could be agreed on",
    };
    let text = format!("{doing}: what answers cannot be told from an impostor: {why}; {NOT_THE_VAULT}");
    Error::with_source(Kind::WrongServer, text, error.clone())
}

/// The first error of a type in a chain. An I/O error may wrap another that its chain passes over.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = cause::<T>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// All of a chain in one line, without what says the same twice.
struct Chain<'a>(&'a dyn StdError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut said, mut next) = (self.0.to_string(), self.0.source());
        while let Some(error) = next {
            let text = error.to_string();
            if !said.contains(&text) {
                said = format!("{said}: {text}");
            }
            next = error.source();
        }
        f.write_str(&said)
    }
}
