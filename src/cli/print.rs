//! Commands that print what they are made of: completions for a shell, and the man page.

use std::io::{Write, stdout};

use clap::{Args, Command};
use clap_complete::Shell;

use super::failure::Failure;

/// `broker completions`: of a shell.
#[derive(Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints them for the command line of the program.
    pub fn run(self, mut program: Command) -> Result<(), Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut program, "broker", &mut text);
        print(&text)
    }
}

/// `broker man`: of the command line of the program.
pub fn man(program: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(program).render(&mut text);
    rendered.map_err(|error| Failure::Failed(error.to_string()))?;
    print(&text)
}

/// Prints a text on standard output. A reader that has gone, such as `head`, is an error like others.
pub fn print(text: &[u8]) -> Result<(), Failure> {
    stdout().write_all(text).map_err(|error| Failure::Failed(format!("standard output: {error}")))
}
