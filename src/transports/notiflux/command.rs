//! The commands of a client, each a text.

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// To be sent the messages of a topic, by a token for it.
    Subscribe { topic: &'a str, token: &'a str },
    /// To be sent them no longer.
    Unsubscribe { topic: &'a str },
    /// To be sent nothing.
    UnsubscribeAll,
}

impl<'a> Command<'a> {
    /// Reads a text; `None` if it is no command, and is ignored.
    ///
    /// # Errors
    /// The text that answers a command that cannot be read. The words are those of notiflux.
    pub fn read(text: &'a str) -> Result<Option<Self>, &'static str> {
        let text = text.trim();
        if !text.starts_with('/') {
            return Ok(None);
        }
        match text.split_once(' ') {
            Some(("/subscribe", rest)) => match rest.split_once(' ') {
                Some((topic, token)) if !token.contains(' ') => Ok(Some(Self::Subscribe { topic, token })),
                _ => Err("Invalid subscribe command, it should be: /subscribe <topic> <token>"),
            },
            Some(("/unsubscribe", topic)) => Ok(Some(Self::Unsubscribe { topic })),
            None if text == "/unsubscribe-all" => Ok(Some(Self::UnsubscribeAll)),
            _ => Err("Unknown command"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_with_one_space_between() {
        let subscribe = Ok(Some(Command::Subscribe { topic: "campaign:7", token: "a.b.c" }));
        for text in ["/subscribe campaign:7 a.b.c", "  /subscribe campaign:7 a.b.c\r\n"] {
            assert_eq!(Command::read(text), subscribe, "{text:?}");
        }
        assert_eq!(Command::read("/unsubscribe news"), Ok(Some(Command::Unsubscribe { topic: "news" })));
        assert_eq!(Command::read("/unsubscribe a b"), Ok(Some(Command::Unsubscribe { topic: "a b" })));
        assert_eq!(Command::read("/unsubscribe-all"), Ok(Some(Command::UnsubscribeAll)));
    }

    #[test]
    fn what_is_no_command_is_ignored_and_what_is_a_wrong_one_is_answered() {
        for text in ["", "hello", " hello /subscribe a b", "subscribe a b", "\u{feff}/subscribe a b"] {
            assert_eq!(Command::read(text), Ok(None), "{text:?}");
        }
        for text in ["/subscribe news", "/subscribe news a b", "/subscribe  news a.b.c", "/subscribe news  a.b.c"] {
            assert!(Command::read(text).unwrap_err().starts_with("Invalid subscribe command, it"), "{text:?}");
        }
        for text in
            ["/", "/subscribe", "/unsubscribe", "/unsubscribe-all x", "/SUBSCRIBE a b", "/help", "/subscribe\ta\tb"]
        {
            assert_eq!(Command::read(text), Err("Unknown command"), "{text:?}");
        }
    }
}
