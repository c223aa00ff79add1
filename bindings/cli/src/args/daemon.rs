//! The options of `daemon`.

use std::path::PathBuf;

use clap::Args;

use super::SourceArgs;

#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    /// What is wished, as JSON, such as `simulate` takes; read anew when it changes, and at SIGHUP [default: the
    /// policy that was last set, or the engine's own]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// What this machine is like where the system does not say it, as JSON, such as {"network": "unmetered"}; what it
    /// says goes before what the system says. Read anew when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) conditions: Option<PathBuf>,
    /// Do what is due now, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// Let the clock go so many times as fast, to see in minutes what takes days. Not for a vault that matters
    #[arg(long, value_name = "N", default_value_t = 1, hide = true, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) speed: u32,
}
