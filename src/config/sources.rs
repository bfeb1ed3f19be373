//! Where the value of a flag is from.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};

use super::file::{File, is_secret};

/// Where the value of a flag is from. The first of these takes precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// A variable `BROKER_…`.
    Variable,
    /// The configuration file.
    File,
    /// Nothing: it is the default.
    Default,
}

impl Source {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Variable => "variable",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// A flag as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag's name, such as `max_names`.
    pub name: String,
    /// Where its value is from.
    pub source: Source,
    /// The value as text; `None` if there is none, or if it is a secret.
    pub value: Option<String>,
    /// Whether the value is a secret.
    pub is_secret: bool,
}

/// The value of a flag, a secret too, between the places that it is from and the parser.
pub struct Given {
    name: String,
    source: Source,
    value: Option<OsString>,
    is_secret: bool,
}

impl Given {
    /// Finds the value of a flag.
    pub fn of(flag: &Arg, matches: &ArgMatches, file: Option<&File>) -> Self {
        let (id, name) = (flag.get_id().as_str(), flag.get_long().unwrap_or_default());
        let read = || matches.get_raw(id).and_then(|mut values| values.next()).map(OsStr::to_owned);
        let (source, value) = match (matches.value_source(id), file.and_then(|file| file.get(name))) {
            (Some(ValueSource::CommandLine), _) => (Source::Flag, read()),
            (Some(ValueSource::EnvVariable), _) => (Source::Variable, read()),
            (_, Some(text)) => (Source::File, Some(text.into())),
            _ => (Source::Default, read()),
        };
        Self { name: name.to_owned(), source, value, is_secret: is_secret(flag) }
    }

    /// The flag as on a command line, unless it is the default.
    pub fn as_flag(&self) -> Option<OsString> {
        let value = self.value.as_ref().filter(|_| self.source != Source::Default)?;
        let mut flag = OsString::from(format!("--{}=", self.name));
        flag.push(value);
        Some(flag)
    }
}

impl From<Given> for Setting {
    fn from(Given { name, source, value, is_secret }: Given) -> Self {
        let value = value.filter(|_| !is_secret).map(|value| value.to_string_lossy().into_owned());
        Self { name, source, value, is_secret }
    }
}
