//! The table: medians of rounds with their range, and the gateway held against its baseline round by round.

use serde_json::{Value, json};

use crate::scenarios::Compare;

/// One figure over all rounds. An empty list means it was not measured.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) figure: String,
    pub(crate) unit: &'static str,
    pub(crate) added: bool,
    pub(crate) direct: Vec<f64>,
    pub(crate) bare: Vec<f64>,
    pub(crate) gateway: Vec<f64>,
    pub(crate) must: &'static str,
    pub(crate) ambition: &'static str,
}

/// Everything a run found out.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) setting: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) warnings: Vec<String>,
}

impl Row {
    /// The values of one target.
    pub(crate) fn values(&mut self, target: &str) -> &mut Vec<f64> {
        match target {
            "direct" => &mut self.direct,
            "bare" => &mut self.bare,
            _ => &mut self.gateway,
        }
    }

    /// The comparison of each round, for the target given.
    fn compared(&self, values: &[f64]) -> Vec<f64> {
        let base = if self.added { &self.direct } else { &self.bare };
        let pairs = values.iter().zip(base);
        match self.added {
            true => pairs.map(|(value, base)| value - base).collect(),
            false => pairs.filter(|(_, base)| **base != 0.0).map(|(value, base)| value / base).collect(),
        }
    }

    fn cells(&self) -> [String; 8] {
        let compared = self.compared(&self.gateway);
        let comparison = match (self.added, compared.is_empty()) {
            (_, true) => "-".to_owned(),
            (true, _) => format!("{} (bare {})", spread(&compared, "+"), spread(&self.compared(&self.bare), "+")),
            (false, _) => spread(&compared, "x "),
        };
        [
            self.scenario.clone(),
            format!("{}, {}", self.figure, self.unit),
            spread(&self.direct, ""),
            spread(&self.bare, ""),
            spread(&self.gateway, ""),
            comparison,
            self.must.into(),
            self.ambition.into(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "scenario": self.scenario, "figure": self.figure, "unit": self.unit,
            "compare": if self.added { "added to direct" } else { "ratio to bare" },
            "direct": self.direct, "bare": self.bare, "gateway": self.gateway,
            "compared": self.compared(&self.gateway), "median": median(&self.compared(&self.gateway)),
            "must": self.must, "ambition": self.ambition
        })
    }
}

impl Report {
    /// Finds or adds the row of a figure.
    pub(crate) fn row(&mut self, scenario: &str, figure: &str, unit: &'static str, compare: Compare) -> &mut Row {
        let known = self.rows.iter().position(|row| row.scenario == scenario && row.figure == figure);
        let at = known.unwrap_or_else(|| {
            let (scenario, figure) = (scenario.to_owned(), figure.to_owned());
            self.rows.push(Row { scenario, figure, unit, added: compare == Compare::Added, ..Row::default() });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    pub(crate) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            eprintln!("warning: {warning}");
            self.warnings.push(warning);
        }
    }

    /// The table as aligned Markdown, which reads well on a terminal too.
    pub(crate) fn table(&self) -> String {
        let head = ["scenario", "figure", "direct", "bare", "gateway", "gateway against it", "must", "ambition"];
        draw(head, self.rows.iter().map(Row::cells))
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Load run\n\n");
        self.setting.iter().for_each(|line| text += &format!("* {line}\n"));
        text += "\nMedian of rounds (least..most). Ratios are to the bare proxy, added times to calling directly, each \
                 within its round.\n\n";
        text += &self.table();
        if !self.warnings.is_empty() {
            text += "\nWarnings:\n\n";
            self.warnings.iter().for_each(|line| text += &format!("* {line}\n"));
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({ "setting": self.setting, "rows": rows, "warnings": self.warnings })
    }
}

/// An aligned table in Markdown.
pub(crate) fn draw<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let draw = |cells: &[String; N]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule: String = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))).collect();
    let mut table = draw(&lines[0]) + &rule + "|\n";
    table.extend(lines[1..].iter().map(draw));
    table
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// `median (least..most)`.
pub(crate) fn spread(values: &[f64], sign: &str) -> String {
    let Some(median) = median(values) else {
        return "-".into();
    };
    let sign = if median < 0.0 { "" } else { sign };
    if values.len() == 1 {
        return format!("{sign}{}", short(median));
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{sign}{} ({}..{})", short(median), short(least), short(most))
}

/// About three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_compared_in_pairs() {
        let row = Row { bare: vec![10.0, 20.0, 40.0], gateway: vec![15.0, 30.0, 40.0], ..Row::default() };
        assert_eq!(row.compared(&row.gateway), [1.5, 1.5, 1.0]);
        assert_eq!(spread(&row.compared(&row.gateway), "x "), "x 1.50 (1.00..1.50)");
    }

    #[test]
    fn the_table_has_a_line_per_row() {
        let mut report = Report::default();
        report.row("plain", "CPU", "us", Compare::Ratio).bare.push(18.0);
        report.row("plain", "CPU", "us", Compare::Ratio).gateway.push(27.0);
        assert_eq!(report.table().lines().count(), 3);
        assert!(report.table().contains("x 1.50"));
    }
}
