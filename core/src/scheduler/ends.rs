//! How an error ends a window.

use super::reason::Reason;
use crate::error::{Kind, Place};

impl Reason {
    /// The end of a window whose job failed with an error of this kind. Being cancelled is told by whoever cancelled: here it is the app.
    pub fn of_error(kind: Kind) -> Self {
        match kind {
            Kind::Cancelled | Kind::NotRunning => Self::StopApp,
            Kind::Busy => Self::Busy,
            Kind::WrongPassword => Self::WrongKey,
            Kind::AccessDenied => Self::AccessDenied,
            Kind::NoRepository => Self::NoRepository,
            Kind::RepositoryExists | Kind::InvalidInput | Kind::NotFound => Self::BadRequest,
            Kind::Unsupported => Self::Unsupported,
            Kind::Damaged => Self::VaultDamaged,
            Kind::OutOfSpace(Place::Vault) => Self::VaultFull,
            Kind::OutOfSpace(Place::State | Place::Target) => Self::DiskFull,
            Kind::Unreachable => Self::VaultUnreachable,
            Kind::WrongServer => Self::WrongServer,
            Kind::Locked => Self::VaultLocked,
            Kind::Catalog => Self::CatalogFailed,
            Kind::Io => Self::IoFailed,
            Kind::Bug => Self::Defect,
        }
    }
}
