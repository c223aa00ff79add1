//! What can be typed. restic's names and letters, so that fingers and scripts that know it are at home.

mod daemon;
mod forget;
mod prune;
mod schedule;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
pub(crate) use daemon::DaemonArgs;
pub(crate) use forget::ForgetArgs;
use lifeboat::{
    AcceptedDatabase,
    retention::{SnapshotFilter, TagList},
    storage::Address,
};
pub(crate) use prune::PruneArgs;
pub(crate) use schedule::{ExplainArgs, SimulateArgs, StatusArgs};

/// Backs folders and live SQLite databases up, end-to-end encrypted, into a repository that restic reads too.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Where the repository is: a folder, rest:https://host/name/ or s3:host/bucket/prefix
    #[arg(
        short = 'r',
        long,
        visible_alias = "repo",
        global = true,
        value_name = "ADDRESS",
        env = "LIFEBOAT_VAULT",
        hide_env_values = true
    )]
    pub(crate) vault: Option<Address>,
    /// A file with the password. Without it, LIFEBOAT_PASSWORD is used, or a prompt
    #[arg(short = 'p', long, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// The engine's own folder: what it knows of the vault, and what is on its way there [default: one for
    /// each vault, below ~/.local/state/lifeboat]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// The certificates of the only authorities that may vouch for the vault, as PEM [default: those that
    /// this system trusts]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// How the vault is reached, such as `s3.bucket-lookup=dns`; may be given several times
    #[arg(short = 'o', long = "option", global = true, value_name = "KEY=VALUE")]
    pub(crate) options: Vec<String>,
    /// For programs: JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new repository
    Init {
        /// The host name in the key file [default: this machine's]
        #[arg(short = 'H', long)]
        host: Option<String>,
    },
    /// Back files, folders and databases up into a new snapshot
    Backup(BackupArgs),
    /// Stay, and back up whenever the policy and the state of this machine say so
    Daemon(DaemonArgs),
    /// List the snapshots, oldest first
    Snapshots {
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// List what is in a snapshot
    Ls(LsArgs),
    /// Bring a snapshot's files back
    Restore(RestoreArgs),
    /// Put in place what a restore has only staged, and keep what was there
    Apply(ApplyArgs),
    /// Give up what an applied restore has replaced
    Confirm(StagedArgs),
    /// Put back what an applied restore has replaced, or give up one that is only staged
    Rollback(StagedArgs),
    /// Look whether everything can be restored
    Check {
        /// Also read every stored byte, and open it
        #[arg(long)]
        read_data: bool,
    },
    /// Forget snapshots, those that are named or by a policy
    Forget(ForgetArgs),
    /// Give back the room of what no snapshot needs
    Prune(PruneArgs),
    /// List, add and remove passwords
    #[command(subcommand)]
    Key(KeyCommand),
    /// Remove the locks of clients that are gone
    Unlock {
        /// Also those that look as if they were in use
        #[arg(long)]
        remove_all: bool,
    },
    /// The newest snapshots hold a fraction of those before, and that is as it should be: from now on they count
    ConfirmLoss,
    /// Say in a few lines how the backup is. Opens no vault
    Status(StatusArgs),
    /// Say what is due, what is in the way and since when, and how the last windows ended. Opens no vault
    Explain(ExplainArgs),
    /// Play a phone's life, or a fleet's, under a policy: how fresh, how much, and why not
    Simulate(SimulateArgs),
    /// Show it all in a few seconds: back a small app's data up while it is being written, lose it, bring it
    /// back
    Demo(DemoArgs),
    /// The app of the demonstration: writes into a database until it is told to stop
    #[command(hide = true)]
    DemoWriter { database: PathBuf },
}

/// What is backed up, and how.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// What to back up
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Leave out what fits this pattern
    #[arg(short, long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Mark the snapshot
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// The host name in the snapshot [default: this machine's]
    #[arg(short = 'H', long)]
    pub(crate) host: Option<String>,
    /// Read databases as if they were files like any other. Only for those that nothing has open
    #[arg(long)]
    pub(crate) no_databases: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    /// Make no snapshot where nothing has changed since the last one
    #[arg(long)]
    pub(crate) skip_if_unchanged: bool,
    /// Work for so long only, and say what is left: the same command goes on from there. Exit code 20 where
    /// there is more to do, 21 where something else must change first
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) window: Option<Duration>,
    /// With --window: send and fetch no more than this
    #[arg(long, value_name = "BYTES", requires = "window")]
    pub(crate) limit_bytes: Option<u64>,
    /// With --window: take no lock, since nobody else deletes from this vault
    #[arg(long, requires = "window")]
    pub(crate) no_lock: bool,
}

/// More than a moment, and within what a clock can count.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("give more than nothing".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// `latest`, or the beginning of a snapshot's id
    pub(crate) snapshot: String,
    /// Only this, and what is below it
    #[arg(default_value = "/")]
    pub(crate) path: PathBuf,
    /// With mode, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// `latest`, or the beginning of a snapshot's id
    pub(crate) snapshot: String,
    /// The folder to restore into; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    pub(crate) target: PathBuf,
    /// Only this path of the snapshot, and what is below it
    #[arg(short, long, value_name = "PATH")]
    pub(crate) include: Vec<PathBuf>,
    /// What to make of a database and the log of what changed in it: one file, or both as they are stored
    #[arg(long, value_enum, default_value_t = DatabaseFilesArg::Folded)]
    pub(crate) database_files: DatabaseFilesArg,
    /// Change nothing in the target: stage everything in it, for `lifeboat apply`
    #[arg(long)]
    pub(crate) stage_only: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DatabaseFilesArg {
    Folded,
    Both,
}

/// A folder that something is staged in.
#[derive(Debug, Args)]
pub(crate) struct StagedArgs {
    /// The folder that was restored into
    #[arg(short, long, value_name = "DIR")]
    pub(crate) target: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) staged: StagedArgs,
    /// The newest schema (`PRAGMA user_version`) of a database that is accepted, and its `PRAGMA
    /// application_id` if that matters; may be given several times
    #[arg(long, value_name = "PATH=VERSION[:ID]", value_parser = accepted)]
    pub(crate) accept: Vec<AcceptedDatabase>,
}

/// What is accepted of one database. The path may hold anything: the last equals sign counts.
fn accepted(text: &str) -> Result<AcceptedDatabase, String> {
    let wanted = "give a path, an equals sign and a number, such as /data/app.db=7 or /data/app.db=7:1234";
    let (path, rule) = text
        .rsplit_once('=')
        .filter(|(path, _)| !path.is_empty())
        .ok_or(wanted)?;
    let (version, id) = match rule.split_once(':') {
        Some((version, id)) => (version, Some(id)),
        None => (rule, None),
    };
    let number = |text: &str| text.parse().map_err(|_| wanted.to_owned());
    Ok(AcceptedDatabase {
        path: path.into(),
        user_version_max: number(version)?,
        application_id: id.map(number).transpose()?,
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List the keys
    List,
    /// Add a key that opens with another password
    Add {
        /// A file with the new password. Without it, LIFEBOAT_NEW_PASSWORD is used, or a prompt
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
        /// The host name in the key file [default: this machine's]
        #[arg(short = 'H', long)]
        host: Option<String>,
    },
    /// Remove a key, but not the one in use
    Remove {
        /// The beginning of its id
        id: String,
    },
}

/// Which snapshots a command is about.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only those of this host; may be given several times
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Only those that have all these tags, joined by commas; may be given several times
    #[arg(long = "tag", value_name = "TAG[,TAG…]")]
    tags: Vec<String>,
    /// Only those of this path; may be given several times
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl FilterArgs {
    pub(crate) fn filter(&self) -> SnapshotFilter {
        SnapshotFilter {
            hosts: self.hosts.clone(),
            tags: tag_lists(&self.tags),
            paths: self.paths.iter().map(|path| absolute(path)).collect(),
        }
    }
}

fn tag_lists(texts: &[String]) -> Vec<TagList> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

/// A path as a snapshot names it.
fn absolute(path: &std::path::Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.to_string_lossy().into_owned()
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave everything there to look at
    #[arg(long)]
    pub(crate) keep: bool,
    /// Work in this folder, which must be empty or not be there [default: one for temporary files]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_accepted_of_a_database_is_a_path_and_numbers() {
        let of =
            |text| accepted(text).map(|found| (found.path, found.user_version_max, found.application_id));
        assert_eq!(of("/a=b.db=7"), Ok(("/a=b.db".into(), 7, None)));
        assert_eq!(of("a.db=-1:1234"), Ok(("a.db".into(), -1, Some(1234))));
        for wrong in ["a.db", "=7", "a.db=", "a.db=x", "a.db=7:", "a.db=99999999999"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_of_the_vault_stand_before_or_after_the_command() {
        for line in [
            "lifeboat --repo /v -p f snapshots --json",
            "lifeboat snapshots --json --vault /v --password-file f",
        ] {
            let cli = Cli::parse_from(line.split(' '));
            assert_eq!(cli.common.vault, Some(Address::Local("/v".into())));
            assert_eq!(cli.common.password_file, Some("f".into()));
            assert!(cli.common.json);
        }
    }
}
