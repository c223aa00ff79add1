//! A phone's life in a second: the same `decide`, the same journal and the same `explain` as on a phone, played over a trace.
//!
//! Pure: time comes from the trace, chance from a seed. What is modelled is the world around the engine (networks, power, people, the operating system's idea
//! of when an app may work) and what a window of the engine costs; what is not modelled is the scheduler, which is the real one.

mod fleet;
mod life;
mod phone;
mod play;
mod report;
mod rng;
mod trace;
mod work;

pub use fleet::{Fleet, LifeSum, PRICES, Prices, fleet};
pub use life::{Life, live};
pub use play::play;
pub use report::{Named, Report, WindowSeen};
pub use trace::{Change, Data, Moment, Platform, Trace};

#[cfg(test)]
mod tests;
