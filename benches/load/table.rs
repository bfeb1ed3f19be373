//! The one table that comes out.

use std::fmt;

/// Lines of what was measured.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

/// One line: what was measured, beside what, and whether that is good enough.
#[derive(Default)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What it came to, with its unit and spread.
    pub figure: String,
    /// What the reference came to in the same run.
    pub reference: String,
    /// The one divided by the other.
    pub ratio: Option<f64>,
    /// What is wanted.
    pub goal: String,
    /// Whether that is so; `None` where nothing is wanted.
    pub holds: Option<bool>,
}

impl Row {
    /// A line that says what was measured.
    pub fn new(what: impl Into<String>, figure: impl Into<String>) -> Self {
        Self { what: what.into(), figure: figure.into(), ..Self::default() }
    }

    /// Names the reference.
    pub fn beside(mut self, reference: impl Into<String>, ratio: f64) -> Self {
        self.reference = reference.into();
        self.ratio = Some(ratio);
        self
    }

    /// Says what is wanted, and whether it is so.
    pub fn goal(mut self, goal: impl Into<String>, holds: bool) -> Self {
        self.goal = goal.into();
        self.holds = Some(holds);
        self
    }
}

impl Table {
    /// Adds a line, and shows it at once to whoever is waiting.
    pub fn add(&mut self, row: Row) {
        eprintln!("{row}");
        self.rows.push(row);
    }

    /// Adds the line of a scenario that did not come to its end.
    pub fn failed(&mut self, scenario: &str, why: &str) {
        // What would end a cell or a line of the table.
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
        writeln!(f, "| what | figure | reference | ratio | goal | holds |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}
