//! The table of results.

use std::fmt;

/// The rows of the table.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

/// One row: a figure, its reference, and whether it meets the goal.
#[derive(Default)]
pub struct Row {
    /// The measurement.
    pub what: String,
    /// The result, with its unit and spread.
    pub figure: String,
    /// The reference's result in the same run.
    pub reference: String,
    /// The result divided by the reference.
    pub ratio: Option<f64>,
    /// The goal.
    pub goal: String,
    /// Whether the goal is met, or `None` if there is no goal.
    pub holds: Option<bool>,
}

impl Row {
    /// A row with a measurement and its result.
    pub fn new(what: impl Into<String>, figure: impl Into<String>) -> Self {
        Self { what: what.into(), figure: figure.into(), ..Self::default() }
    }

    /// Adds the reference.
    pub fn beside(mut self, reference: impl Into<String>, ratio: f64) -> Self {
        self.reference = reference.into();
        self.ratio = Some(ratio);
        self
    }

    /// Adds the goal, and whether it is met.
    pub fn goal(mut self, goal: impl Into<String>, holds: bool) -> Self {
        self.goal = goal.into();
        self.holds = Some(holds);
        self
    }
}

impl Table {
    /// Adds a row, and prints it at once.
    pub fn add(&mut self, row: Row) {
        eprintln!("{row}");
        self.rows.push(row);
    }

    /// Adds the row of a scenario that failed.
    pub fn failed(&mut self, scenario: &str, why: &str) {
        // These characters would end a cell or a line of the table.
        let why = why.replace(['|', '\r', '\n'], " ");
        self.rows.push(Row::new(scenario, format!("FAILED: {why}")).goal("", false));
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let holds = match self.holds {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        write!(f, "| {} | {} | {} | {ratio} | {} | {holds} |", self.what, self.figure, self.reference, self.goal)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| measurement | figure | reference | ratio | goal | holds |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}
