//! The options of `prune`.

use std::time::Duration;

use clap::Args;
use lifeboat::{MaxUnused, PruneJob, limits, parse_bytes};

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long, visible_alias = "dry-run")]
    pub(crate) plan: bool,
    /// How much of what is stored may be of no use: a share such as 5%, bytes such as 200M, or `unlimited`
    #[arg(long, value_name = "LIMIT", default_value = "5%")]
    max_unused: MaxUnused,
    /// Pack at most so many bytes of packs anew; the next prune goes on
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_repack_size: Option<u64>,
    /// Put packs together that are smaller than this
    #[arg(long, value_name = "SIZE", value_parser = size)]
    repack_smaller_than: Option<u64>,
    /// Pack only folders anew, and fetch no content of files
    #[arg(long)]
    repack_cacheable_only: bool,
    /// How long what is of no use stays, such as 6d23h: longer than any client sleeps in the middle of a backup. With 0 it goes at once,
    /// which is safe only where no other client is at work or asleep
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "6d23h")]
    grace: Duration,
    /// Fetch at most so many bytes of folders to find out what is needed; the next plan goes on
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_plan_size: Option<u64>,
}

impl PruneArgs {
    pub(crate) fn job(&self) -> PruneJob {
        PruneJob {
            max_unused: self.max_unused,
            max_repack_bytes: self.max_repack_size,
            repack_smaller_than: self.repack_smaller_than,
            trees_only: self.repack_cacheable_only,
            grace: self.grace,
            max_plan_bytes: self.max_plan_size,
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "give a number of bytes such as 500K, 64M or 2G".into())
}

/// Days, hours, minutes and seconds, one after the other.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "give a duration such as 6d23h, 90m or 0".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let mut letters = behind.chars();
        let unit = match letters.next() {
            Some('d') => 86_400,
            Some('h') => 3600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(wrong()),
        };
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit));
        seconds = part
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(wrong)?;
        rest = letters.as_str();
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(Duration::from_secs(seconds))
    }
}

const _: () = assert!(limits::PRUNE_GRACE.as_secs() == 6 * 86_400 + 23 * 3600);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn options_become_a_job() {
        let job = |line: &str| {
            let Command::Prune(args) = Cli::parse_from(line.split_whitespace()).command else {
                panic!("another command");
            };
            (args.plan, args.job())
        };
        assert_eq!(job("lifeboat prune"), (false, PruneJob::default()));
        let line = "lifeboat prune --dry-run --max-unused 0 --max-repack-size 64M --grace 1d2h3m4s";
        let (plan, job) = job(line);
        assert!(plan);
        assert_eq!(job.max_unused, MaxUnused::Bytes(0));
        assert_eq!(job.max_repack_bytes, Some(64 << 20));
        assert_eq!(job.grace, Duration::from_secs(93_784));
        for text in ["", "d", "1", "1w", "1h2", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
