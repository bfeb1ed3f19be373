//! Commands that print what they are made of: completions for a shell, and the man page.

use std::io::{Write, stderr, stdout};

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

/// Says something on standard error, if anybody reads it.
pub fn say(what: std::fmt::Arguments<'_>) {
    let _ = writeln!(stderr(), "{what}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// All commands and the flags of each, as `--` begins them, with what is said of each.
    fn told(program: &Command) -> Vec<(String, String)> {
        let of = |help: Option<&clap::builder::StyledStr>| help.map(ToString::to_string).unwrap_or_default();
        let flags = program.get_arguments();
        let flags = flags.filter_map(|flag| Some((format!("--{}", flag.get_long()?), of(flag.get_help()))));
        let mut told: Vec<_> = flags.collect();
        for command in program.get_subcommands() {
            told.push((command.get_name().to_owned(), of(command.get_about())));
            told.extend(self::told(command));
        }
        told
    }

    /// A text without what changes the font and breaks lines.
    fn plain(text: &str) -> String {
        let text = ["\\fB", "\\fI", "\\fR"].iter().fold(text.replace("\\-", "-"), |text, font| text.replace(font, " "));
        text.replace("\\*(Aq", "'").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Whether a name is in a text, and is no part of a longer one.
    fn has(text: &str, name: &str) -> bool {
        text.split(|c: char| !c.is_alphanumeric() && !['-', '_'].contains(&c))
            .any(|word| word.eq_ignore_ascii_case(name))
    }

    #[test]
    fn the_man_page_and_the_completions_of_every_shell_have_every_command_and_flag() {
        let mut program = Cli::command();
        let told = told(&program);
        for name in ["--max_names", "--admin_token_file", "restore", "completions"] {
            assert!(told.iter().any(|(of, help)| of == name && !help.is_empty()), "{name}");
        }
        let man = plain(&String::from_utf8(page(program.clone()).unwrap()).unwrap());
        for (name, help) in &told {
            assert!(has(&man, name) && man.contains(&plain(help)), "{name} is missing: {help}");
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut program, "broker", &mut text);
            let text = String::from_utf8(text).unwrap();
            for (name, _) in &told {
                // fish names a flag after `-l`.
                let name = if shell == Shell::Fish { name.trim_start_matches("--") } else { name };
                assert!(has(&text, name), "{name} is missing for {shell}");
            }
        }
    }
}
