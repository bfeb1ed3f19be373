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

/// `broker man`: of the command line of the program, with a section for each command.
pub fn man(program: Command) -> Result<(), Failure> {
    page(program).map_err(|error| Failure::Failed(error.to_string())).and_then(|text| print(&text))
}

fn page(mut program: Command) -> std::io::Result<Vec<u8>> {
    program.build();
    let mut text = Vec::new();
    let of_server: Vec<_> = program.get_arguments().map(|flag| flag.get_id().clone()).collect();
    clap_mangen::Man::new(program.clone()).render(&mut text)?;
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        writeln!(text, ".SH \"BROKER {}\"", command.get_name().to_uppercase())?;
        writeln!(text, "{}", command.get_about().map(ToString::to_string).unwrap_or_default().replace('-', "\\-"))?;
        let flags = command.get_arguments().map(clap::Arg::get_id);
        // Those of the server are above.
        if flags.filter(|flag| of_server.contains(flag)).count() > of_server.len() / 2 {
            writeln!(text, ".PP\nIt takes the options of the server.")?;
            continue;
        }
        let mut options = Vec::new();
        let page = clap_mangen::Man::new(command.clone());
        page.render_synopsis_section(&mut options)?;
        page.render_options_section(&mut options)?;
        text.extend(String::from_utf8_lossy(&options).replace(".SH ", ".SS ").bytes());
    }
    Ok(text)
}

/// Prints a text on standard output. A reader that has gone, such as `head`, is an error like others.
pub fn print(text: &[u8]) -> Result<(), Failure> {
    stdout().write_all(text).map_err(|error| Failure::Failed(format!("standard output: {error}")))
}
