//! What a host asks for.

use std::sync::Arc;

use lifeboat::{
    BackupJob, CheckJob, DatabaseAccess as Access, DatabaseFiles, DatabaseSource, Databases, ForgetJob,
    PruneJob, RestoreJob, Source,
    retention::{Count, Policy, RetentionDuration, SnapshotFilter, TagList},
};

use crate::{error::EngineError, holder::Holder, host::DatabaseHolder};

/// One thing to back up.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct BackupSource {
    /// A folder or file on this device.
    pub path: String,
    /// What it is called in the snapshot, such as `files`. On phones always give one: the path of an app's folder changes when the app is
    /// installed anew. Without it, it stands at its path.
    #[uniffi(default = None)]
    pub name: Option<String>,
}

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct BackupRequest {
    pub sources: Vec<BackupSource>,
    /// Whose backup it is, such as a name for the device that stays the same. Snapshots with the same label and sources belong together.
    pub label: String,
    /// Patterns of paths to leave out, as restic reads them: `*.tmp`, `cache`, `/data/app/files/**/thumbs`, `!keep` to take back. A source is backed up
    /// whatever its own path matches.
    #[uniffi(default = [])]
    pub excludes: Vec<String>,
    #[uniffi(default = [])]
    pub tags: Vec<String>,
    /// Whether SQLite databases are found by themselves, and read as they are at one moment, wherever they are open. If not, those that are not
    /// listed are files like any other, which is only safe where nothing has them open.
    #[uniffi(default = true)]
    pub find_databases: bool,
    /// Databases of which there is more to say. Each must lie in a source, or be one.
    #[uniffi(default = [])]
    pub databases: Vec<AppDatabase>,
    /// Makes no snapshot where nothing has changed since the last one.
    #[uniffi(default = false)]
    pub skip_if_unchanged: bool,
}

/// A database of the app's.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct AppDatabase {
    pub path: String,
    #[uniffi(default = None)]
    pub access: Option<DatabaseAccess>,
    /// Databases of the same group are read at the same moment: those that the app attaches to one connection.
    #[uniffi(default = None)]
    pub group: Option<String>,
}

/// How a database is read. Without a word, as `InProcess`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum DatabaseAccess {
    /// The app has it open in this process, by any copy of SQLite.
    InProcess,
    /// Another process has it open.
    OtherProcess,
    /// The app holds it still, by the `DatabaseHolder` that it gives to the backup; no lock is taken.
    HeldByApp,
}

/// One restore.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RestoreRequest {
    /// `latest`, or the beginning of a snapshot's id.
    pub snapshot: String,
    /// The folder to restore into; made if it is not there.
    pub target: String,
    /// Paths in the snapshot, as its entries have them: only these, and what is below them. Empty: everything.
    #[uniffi(default = [])]
    pub include: Vec<String>,
    /// Only stages: everything is fetched, verified and checked, and nothing in the target changes until `apply_pending_restore`, which is for the
    /// next start of an app that has these files open.
    #[uniffi(default = false)]
    pub stage_only: bool,
    /// Leaves a database as two files, as restic restores it, where the snapshot has a log of what changed in it.
    #[uniffi(default = false)]
    pub keep_database_logs: bool,
}

/// One look at what the vault holds.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct VerifyRequest {
    /// Also fetches and opens everything that is stored: as many bytes as the vault holds.
    #[uniffi(default = false)]
    pub read_data: bool,
}

/// One turn at giving back the room of what no snapshot needs.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PruneRequest {
    /// Packs of at most so many bytes are packed anew: what is of use in them is fetched and sent. Without it, as many as pay.
    #[uniffi(default = None)]
    pub max_repack_bytes: Option<u64>,
    /// Bytes of folders that planning may fetch. What was fetched is remembered, and the next turn goes on there.
    #[uniffi(default = None)]
    pub max_plan_bytes: Option<u64>,
    /// Decides and reports, and changes nothing.
    #[uniffi(default = false)]
    pub dry_run: bool,
}

/// Which snapshots to let go of: named ones, or all that no rule keeps. Rules are for each group of the same label and sources.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ForgetRequest {
    /// These, whatever the rules say; then no rule may be given. `latest`, or beginnings of ids.
    #[uniffi(default = [])]
    pub snapshots: Vec<String>,
    /// The newest so many.
    #[uniffi(default = None)]
    pub keep_last: Option<u32>,
    /// The newest of each of the last so many hours that have one; and so on.
    #[uniffi(default = None)]
    pub keep_hourly: Option<u32>,
    #[uniffi(default = None)]
    pub keep_daily: Option<u32>,
    #[uniffi(default = None)]
    pub keep_weekly: Option<u32>,
    #[uniffi(default = None)]
    pub keep_monthly: Option<u32>,
    #[uniffi(default = None)]
    pub keep_yearly: Option<u32>,
    /// All within this span before the newest, in restic's words: `2y5m7d3h`.
    #[uniffi(default = None)]
    pub keep_within: Option<String>,
    /// All that have any of these tags.
    #[uniffi(default = [])]
    pub keep_tags: Vec<String>,
    /// Only snapshots with this label; all without it.
    #[uniffi(default = None)]
    pub label: Option<String>,
    /// Decides and reports, and deletes nothing.
    #[uniffi(default = false)]
    pub dry_run: bool,
}

impl From<BackupSource> for Source {
    fn from(source: BackupSource) -> Self {
        match source.name {
            Some(name) => Self::named(source.path, name),
            None => Self::at_path(source.path),
        }
    }
}

impl BackupRequest {
    /// What the engine is asked for; `holder` is the host's.
    pub(crate) fn into_job(self, holder: Option<Arc<dyn DatabaseHolder>>) -> Result<BackupJob, EngineError> {
        let request = self;
        let holder = holder.map(Holder::new);
        let access = |access: Option<DatabaseAccess>| match (access, &holder) {
            (None | Some(DatabaseAccess::InProcess), _) => Ok(Access::Own),
            (Some(DatabaseAccess::OtherProcess), _) => Ok(Access::OtherProcess),
            (Some(DatabaseAccess::HeldByApp), Some(holder)) => Ok(Access::Quiesced(holder.clone())),
            (Some(DatabaseAccess::HeldByApp), None) => Err(EngineError::invalid(
                "a database is held by the app, but no holder was given",
            )),
        };
        let declared = request.databases.into_iter().map(|database| {
            Ok(DatabaseSource {
                path: database.path.into(),
                access: access(database.access)?,
                group: database.group,
            })
        });
        let declared = declared.collect::<Result<_, EngineError>>()?;
        Ok(BackupJob {
            sources: request.sources.into_iter().map(Source::from).collect(),
            excludes: request.excludes,
            tags: request.tags,
            host: request.label,
            databases: Databases {
                found: request.find_databases.then_some(Access::Own),
                declared,
            },
            skip_if_unchanged: request.skip_if_unchanged,
        })
    }
}

impl From<RestoreRequest> for RestoreJob {
    fn from(request: RestoreRequest) -> Self {
        Self {
            snapshot: request.snapshot,
            target: request.target.into(),
            include: request.include.into_iter().map(Into::into).collect(),
            database_files: if request.keep_database_logs {
                DatabaseFiles::Both
            } else {
                DatabaseFiles::Folded
            },
            stage_only: request.stage_only,
        }
    }
}

impl From<VerifyRequest> for CheckJob {
    fn from(request: VerifyRequest) -> Self {
        Self {
            read_data: request.read_data,
        }
    }
}

impl From<PruneRequest> for PruneJob {
    fn from(request: PruneRequest) -> Self {
        Self {
            max_repack_bytes: request.max_repack_bytes,
            max_plan_bytes: request.max_plan_bytes,
            ..Self::default()
        }
    }
}

impl TryFrom<ForgetRequest> for ForgetJob {
    type Error = EngineError;

    fn try_from(request: ForgetRequest) -> Result<Self, EngineError> {
        let count = |rule: Option<u32>| rule.map_or(Count::NONE, Count::AtMost);
        let within = (request.keep_within.as_deref())
            .map(|text| text.parse::<RetentionDuration>())
            .transpose()
            .map_err(|error| EngineError::invalid(error.to_string()))?;
        Ok(Self {
            snapshots: request.snapshots,
            policy: Policy {
                last: count(request.keep_last),
                hourly: count(request.keep_hourly),
                daily: count(request.keep_daily),
                weekly: count(request.keep_weekly),
                monthly: count(request.keep_monthly),
                yearly: count(request.keep_yearly),
                within,
                tags: request
                    .keep_tags
                    .into_iter()
                    .map(|tag| TagList(vec![tag]))
                    .collect(),
                ..Policy::default()
            },
            filter: SnapshotFilter {
                hosts: request.label.into_iter().collect(),
                ..SnapshotFilter::default()
            },
            dry_run: request.dry_run,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> ForgetRequest {
        ForgetRequest {
            snapshots: vec![],
            keep_last: None,
            keep_hourly: None,
            keep_daily: None,
            keep_weekly: None,
            keep_monthly: None,
            keep_yearly: None,
            keep_within: None,
            keep_tags: vec![],
            label: None,
            dry_run: false,
        }
    }

    #[test]
    fn rules_that_are_not_given_are_no_rules() {
        assert!(ForgetJob::try_from(nothing()).unwrap().policy.is_empty());
        let weekly = ForgetRequest {
            keep_weekly: Some(3),
            ..nothing()
        };
        assert_eq!(
            ForgetJob::try_from(weekly).unwrap().policy.weekly,
            Count::AtMost(3)
        );
    }

    #[test]
    fn a_span_that_is_none_is_the_callers_mistake() {
        let odd = ForgetRequest {
            keep_within: Some("soon".into()),
            ..nothing()
        };
        assert!(matches!(
            ForgetJob::try_from(odd),
            Err(EngineError::InvalidInput { .. })
        ));
    }
}
