//! What can be said about when and why.

use std::path::PathBuf;

use clap::Args;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// What the phone is like, as JSON [default: as it was last reported]
    #[arg(long, value_name = "FILE")]
    pub(crate) conditions: Option<PathBuf>,
    /// What is wished, as JSON [default: the policy that was last set, or the engine's own]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A moment in the past: 2026-05-01T13:00, by the clocks here, or with an offset
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<i64>,
    #[command(flatten)]
    pub(crate) status: StatusArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// What is wished, as JSON [default: the engine's own policy]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// A trace, or the name of a sort of life: commuter, student, traveller, tablet, put-aside, iphone, mobile
    #[arg(long, value_name = "FILE|LIFE", default_value = "commuter")]
    pub(crate) trace: String,
    /// How long [default: as long as the trace, or a year]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3660))]
    pub(crate) days: Option<u32>,
    /// Another life of the same sort, and other chances
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write one page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Sum so many phones with lives of all sorts, instead of one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), conflicts_with = "trace")]
    pub(crate) fleet: Option<u32>,
    /// Write the trace that is played, to look at it or to change it
    #[arg(long, value_name = "FILE", conflicts_with = "fleet")]
    pub(crate) write_trace: Option<PathBuf>,
}

/// Unix milliseconds.
fn moment(text: &str) -> Result<i64, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant.as_millisecond());
    }
    let clock: DateTime = text.parse().map_err(|error| format!("not a time: {error}"))?;
    let zoned = clock
        .to_zoned(TimeZone::system())
        .map_err(|error| format!("not a time here: {error}"))?;
    Ok(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_with_and_without_an_offset() {
        assert_eq!(moment("1970-01-01T01:00:01+01:00"), Ok(1000));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(1000));
        assert!(moment("2026-05-01T13:00").is_ok());
        assert!(moment("2026-05-01").is_ok());
        assert!(moment("yesterday").is_err());
    }
}
