//! The options of `forget`.

use clap::Args;
use lifeboat::{
    ForgetJob,
    retention::{Count, GroupBy, Policy, RetentionDuration},
};

use super::{FilterArgs, tag_lists};

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// These, whatever a policy would say: `latest`, or beginnings of ids
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Apply the policy to each group of snapshots that have the same of these: host, paths, tags
    #[arg(short, long, value_name = "WORDS", default_value_t)]
    group_by: GroupBy,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Then prune, as `lifeboat prune` does without options
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) prune: bool,
    // The last: whatever follows a heading stands below it.
    #[command(flatten)]
    keep: KeepArgs,
}

/// Each count may be `unlimited`; a duration is such as 1y5m7d2h.
#[derive(Debug, Args)]
#[command(next_help_heading = "What to keep")]
struct KeepArgs {
    /// The last N snapshots
    #[arg(
        short = 'l',
        long,
        value_name = "N",
        default_value_t,
        hide_default_value = true
    )]
    keep_last: Count,
    /// The last of each of the last N hours that have any
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    keep_hourly: Count,
    /// The last of each of the last N days that have any
    #[arg(
        short = 'd',
        long,
        value_name = "N",
        default_value_t,
        hide_default_value = true
    )]
    keep_daily: Count,
    /// The last of each of the last N weeks that have any
    #[arg(
        short = 'w',
        long,
        value_name = "N",
        default_value_t,
        hide_default_value = true
    )]
    keep_weekly: Count,
    /// The last of each of the last N months that have any
    #[arg(
        short = 'm',
        long,
        value_name = "N",
        default_value_t,
        hide_default_value = true
    )]
    keep_monthly: Count,
    /// The last of each of the last N years that have any
    #[arg(
        short = 'y',
        long,
        value_name = "N",
        default_value_t,
        hide_default_value = true
    )]
    keep_yearly: Count,
    /// All that are at most this much older than the newest
    #[arg(long, value_name = "DURATION")]
    keep_within: Option<RetentionDuration>,
    /// One an hour, as far back as this from the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_hourly: Option<RetentionDuration>,
    /// One a day, as far back as this from the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_daily: Option<RetentionDuration>,
    /// One a week, as far back as this from the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_weekly: Option<RetentionDuration>,
    /// One a month, as far back as this from the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_monthly: Option<RetentionDuration>,
    /// One a year, as far back as this from the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_yearly: Option<RetentionDuration>,
    /// Those that have all these tags, joined by commas; may be given several times
    #[arg(long = "keep-tag", value_name = "TAG[,TAG…]")]
    keep_tags: Vec<String>,
}

impl ForgetArgs {
    pub(crate) fn job(&self) -> ForgetJob {
        let keep = &self.keep;
        ForgetJob {
            snapshots: self.snapshots.clone(),
            policy: Policy {
                last: keep.keep_last,
                hourly: keep.keep_hourly,
                daily: keep.keep_daily,
                weekly: keep.keep_weekly,
                monthly: keep.keep_monthly,
                yearly: keep.keep_yearly,
                within: keep.keep_within,
                within_hourly: keep.keep_within_hourly,
                within_daily: keep.keep_within_daily,
                within_weekly: keep.keep_within_weekly,
                within_monthly: keep.keep_within_monthly,
                within_yearly: keep.keep_within_yearly,
                tags: tag_lists(&keep.keep_tags),
            },
            filter: self.filter.filter(),
            group_by: self.group_by,
            dry_run: self.dry_run,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn options_become_a_policy() {
        let line = "lifeboat forget --keep-last 3 --keep-daily unlimited --keep-within 1y2m --keep-tag a,b \
                    --host h --group-by tags -n";
        let Command::Forget(args) = Cli::parse_from(line.split_whitespace()).command else {
            panic!("another command");
        };
        let job = args.job();
        assert_eq!(job.policy.last, Count::AtMost(3));
        assert_eq!(job.policy.daily, Count::Unlimited);
        assert_eq!(job.policy.within, "1y2m".parse().ok());
        assert_eq!(job.policy.tags, ["a,b".into()]);
        assert_eq!(job.filter.hosts, ["h"]);
        assert_eq!(job.group_by.to_string(), "tags");
        assert!(job.dry_run);
    }
}
