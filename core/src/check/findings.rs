//! What was found so far: listed up to a bound, counted beyond it.

use super::job::{CheckReport, Finding, Severity};
use crate::{error::Error, limits};

#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    listed_errors: usize,
    listed_hints: usize,
    errors: u64,
    hints: u64,
}

impl Findings {
    pub(super) fn error(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Error, subject.into(), text.into());
    }

    pub(super) fn hint(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Hint, subject.into(), text.into());
    }

    pub(super) fn add(&mut self, severity: Severity, subject: String, text: String) {
        self.count(severity, 1);
        self.list(Finding {
            severity,
            subject,
            text,
        });
    }

    /// Takes over what another collected; `subject_of` says what its subjects are called here.
    pub(super) fn merge(&mut self, other: Self, subject_of: impl Fn(String) -> String) {
        self.count(Severity::Error, other.errors);
        self.count(Severity::Hint, other.hints);
        for finding in other.list {
            self.list(Finding {
                subject: subject_of(finding.subject),
                ..finding
            });
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Puts everything into the report, the errors first.
    pub(super) fn report(mut self, report: &mut CheckReport) {
        self.list
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        report.findings = self.list;
        report.errors = self.errors;
        report.hints = self.hints;
    }

    fn count(&mut self, severity: Severity, count: u64) {
        match severity {
            Severity::Error => self.errors += count,
            Severity::Hint => self.hints += count,
        }
    }

    fn list(&mut self, finding: Finding) {
        let listed = match finding.severity {
            Severity::Error => &mut self.listed_errors,
            Severity::Hint => &mut self.listed_hints,
        };
        if *listed < limits::REPORT_NAMES_MAX {
            *listed += 1;
            self.list.push(finding);
        }
    }
}

/// What an error says, without the name of the file where that stands beside it anyway.
pub(super) fn text_of(error: &Error, subject: &str) -> String {
    let text = error.to_string();
    match text
        .strip_prefix(subject)
        .map(|rest| rest.trim_start_matches([':', ' ']))
    {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_findings_than_a_report_lists_are_counted_and_the_other_severity_keeps_its_room() {
        let max = limits::REPORT_NAMES_MAX;
        let mut all = Findings::default();
        let mut part = Findings::default();
        for n in 0..max + 5 {
            part.hint(n.to_string(), "h");
            all.hint(n.to_string(), "h");
        }
        part.error("e", "e");
        all.merge(part, |subject| format!("in {subject}"));
        let mut report = CheckReport::default();
        all.report(&mut report);
        assert_eq!((report.errors, report.hints), (1, 2 * (max as u64 + 5)));
        assert_eq!(report.findings.len(), max + 1);
        assert_eq!(report.findings[0].subject, "in e");
    }
}
