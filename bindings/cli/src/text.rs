//! Values as people read them: sizes, durations, times, names, tables.

use std::{fmt, path::Path, time::Duration};

use jiff::tz::TimeZone;
use lifeboat::format::Timestamp;

/// A number of bytes in the unit that suits it.
#[derive(Clone, Copy)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut units = UNITS.iter();
        let mut unit = units.next();
        // 1023.96 would be printed as 1024.0.
        while value >= 1023.95 && units.len() > 0 {
            value /= 1024.0;
            unit = units.next();
        }
        f.pad(&format!("{value:.1} {}", unit.unwrap_or(&"KiB")))
    }
}

/// A stretch of time, as exact as it is interesting.
#[derive(Clone, Copy)]
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = match seconds {
            0 if self.0.as_millis() < 1000 => format!("{:.2} s", self.0.as_secs_f64()),
            0..60 => format!("{:.1} s", self.0.as_secs_f64()),
            60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
            _ => format!(
                "{}:{:02}:{:02} h",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            ),
        };
        f.pad(&text)
    }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time by the clocks of this machine.
pub(crate) fn local_time(time: Timestamp) -> String {
    jiff::Timestamp::new(time.seconds(), 0).map_or_else(
        // Years that a calendar here does not have.
        |_| time.to_string(),
        |instant| {
            instant
                .to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

/// The same for Unix milliseconds.
pub(crate) fn moment(at_ms: i64) -> String {
    Timestamp::new(at_ms.div_euclid(1000), 0).map_or_else(|| at_ms.to_string(), local_time)
}

/// A name from a repository or a disk on one line, without what would steer a terminal.
pub(crate) fn visible(path: &Path) -> String {
    let mut text = String::new();
    for letter in path.to_string_lossy().chars() {
        if letter.is_control() {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    text
}

/// Columns under their headings. A cell may have several lines.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    /// Columns of numbers.
    right: &'static [usize],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str], right: &'static [usize]) -> Self {
        Self {
            headings: headings.to_vec(),
            right,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn lines(&self) -> Vec<Vec<&str>> {
        let mut lines = vec![self.headings.clone()];
        for row in &self.rows {
            let height = row.iter().map(|cell| cell.split('\n').count()).max().unwrap_or(0);
            for index in 0..height {
                let line = row.iter().map(|cell| cell.split('\n').nth(index).unwrap_or(""));
                lines.push(line.collect());
            }
        }
        lines
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        let width = |column: usize| {
            let widths = lines.iter().filter_map(|line| line.get(column));
            widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        for (number, line) in lines.iter().enumerate() {
            let mut text = String::new();
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
                let (before, after) = if self.right.contains(&column) {
                    (padding.as_str(), "")
                } else {
                    ("", padding.as_str())
                };
                text.extend([before, cell, after, "  "]);
            }
            if number > 0 {
                writeln!(f)?;
            }
            f.write_str(text.trim_end())?;
            if number == 0 {
                let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
                write!(f, "\n{}", "-".repeat(total))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_choose_their_unit() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_610_612_736, "1.5 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(Size(bytes).to_string(), text);
        }
        for (millis, text) in [
            (0, "0.00 s"),
            (1234, "1.2 s"),
            (61_000, "1:01 min"),
            (3_661_000, "1:01:01 h"),
        ] {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn large_numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_table_is_aligned_and_ends_no_line_in_blanks() {
        let mut table = Table::new(&["ID", "Size", "Paths"], &[1]);
        table.row(["a".into(), "1 B".into(), "/x\n/yy".into()]);
        table.row(["bcd".into(), "10 KiB".into(), "/z".into()]);
        let text = "ID     Size  Paths\n\
                    ------------------\n\
                    a       1 B  /x\n\
                    \u{20}            /yy\n\
                    bcd  10 KiB  /z";
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(visible(Path::new("a\u{1b}[2Jb\nc")), "a\\u{1b}[2Jb\\nc");
    }
}
