//! What a client emits, as a command.

use bytes::Bytes;

use crate::app::Services;
use crate::error::Error;
use crate::transports::commands::{Answer, Body, Obeyed, SignedIn, Verb};
use crate::transports::socket_io::Json;

/// A command, and its fields as an object.
pub struct Command {
    verb: Verb,
    fields: String,
}

impl Command {
    /// Reads the event `name` with these arguments, of which the first is the object of fields. `subscribe` and `unsubscribe` also take the
    /// list alone.
    ///
    /// # Errors
    /// [`Error::CommandUnknown`]; [`Error::BodyInvalid`] if there are binary values.
    pub fn read(name: &str, args: &[Json], attachments: &[Bytes]) -> Result<Self, Error> {
        let verb = Verb::parse(name)?;
        if !attachments.is_empty() {
            return Err(Error::BodyInvalid("it has binary values, and events are JSON".to_owned()));
        }
        let first = args.first().map_or("{}", |first| first.get());
        let is_list = matches!(verb, Verb::Subscribe | Verb::Unsubscribe) && first.starts_with('"');
        let fields = if is_list { format!(r#"{{"events":{first}}}"#) } else { first.to_owned() };
        Ok(Self { verb, fields })
    }

    /// Whether it is about the stream itself.
    pub fn is_of_stream(&self) -> bool {
        matches!(self.verb, Verb::Subscribe | Verb::Unsubscribe | Verb::Renew)
    }

    /// Carries it out.
    ///
    /// # Errors
    /// Those of [`SignedIn::obey`].
    pub fn obey(&self, signed_in: &mut SignedIn, services: &Services) -> Result<Obeyed, Error> {
        signed_in.obey(services, self.verb, &Body::parse(&self.fields)?)
    }
}

/// Whether a command was refused because the stream was not open.
pub fn lacked_stream(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { error: Error::StreamUnknown, .. })
}
