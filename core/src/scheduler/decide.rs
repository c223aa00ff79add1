//! Which job may run now. Pure.

/// A sort of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Backup,
    Restore,
    Check,
    /// Whatever deletes from the vault.
    Forget,
}

/// Why a job does not run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Busy(Work),
}

/// One job at a time: they share a meter, the cores and the memory that the engine is allowed.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    running: Option<Work>,
}

impl Schedule {
    /// Admits a job that was asked to run now.
    pub(super) fn run_now(&mut self, work: Work) -> Result<(), Refusal> {
        match self.running {
            Some(running) => Err(Refusal::Busy(running)),
            None => {
                self.running = Some(work);
                Ok(())
            }
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    pub(super) fn finished(&mut self) {
        self.running = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_refused_while_another_runs_and_admitted_after_it() {
        let mut schedule = Schedule::default();
        schedule.run_now(Work::Backup).unwrap();
        for work in [Work::Backup, Work::Restore, Work::Check, Work::Forget] {
            assert_eq!(schedule.run_now(work), Err(Refusal::Busy(Work::Backup)));
        }
        schedule.finished();
        schedule.run_now(Work::Restore).unwrap();
        assert_eq!(schedule.run_now(Work::Backup), Err(Refusal::Busy(Work::Restore)));
    }
}
