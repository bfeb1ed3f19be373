//! What users ask for, and what they are answered.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::OptionFuture;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use super::client::{Client, finish};
use super::command::Command;
use super::format::Events;
use super::recovery;
use crate::app::App;
use crate::error::Error;
use crate::events::{ControlEvent, End, Ending, HandOver, StreamId};
use crate::metrics::Metrics;
use crate::transports::commands::{Answer, Obeyed, Opening, SignIn};
use crate::transports::control_event::control_event;
use crate::transports::json::from_object;
use crate::transports::refusal::log_fault;
use crate::transports::socket_io::{Ack, Admission, Connect, ConnectError, Event, Outlet, Socket, Types, Work};
use crate::transports::socket_streams::{Running, open};
use crate::transports::stream_sink::Ended;

/// What a client that waits for no answer is told a refusal by.
const ERROR: &str = "$error";
/// What a client is told before it is disconnected.
const END: &str = "$end";

/// How many commands one counts as whose answer may be large.
const MAX_WEIGHT: usize = 16;

/// What users are served by, on one worker.
#[derive(Clone)]
pub struct UserSockets(App);

/// Why a client may not connect: the sentence of the error, and in `data` its code.
pub fn refuse(metrics: &Metrics, error: &Error) -> ConnectError {
    metrics.refused(error.code());
    log_fault(error);
    let mut data = json!({ "code": error.code() });
    if let Some(seconds) = error.retry_after() {
        data["retry_after"] = seconds.into();
    }
    ConnectError { message: error.sentence().into_owned(), data: to_raw_value(&data).ok() }
}

impl UserSockets {
    /// The application on a worker.
    pub fn new(app: App) -> Self {
        Self(app)
    }

    /// Whether a client that connects says who it is.
    pub fn signs_in(auth: &Map<String, Value>) -> bool {
        auth.contains_key("token") || auth.contains_key("ticket")
    }

    /// Signs a user in, and prepares the stream. The id of the socket is that of the stream.
    ///
    /// # Errors
    /// Why not.
    pub async fn connect<T: Types>(&self, connect: &Connect<'_, T>) -> Result<Admission<Client>, ConnectError> {
        self.sign_in(connect).await.map_err(|error| refuse(self.0.metrics(), &error))
    }

    async fn sign_in<T: Types>(&self, connect: &Connect<'_, T>) -> Result<Admission<Client>, Error> {
        let Self(app) = self;
        let sign_in: SignIn<'_> = from_object(&connect.auth)?;
        let recovers = match connect.auth.get("recovery") {
            None | Some(Value::Null) => false,
            Some(recovers) => {
                recovers.as_bool().ok_or_else(|| Error::BodyInvalid("recovery is not true or false".to_owned()))?
            }
        };
        let asked = connect.recovery().filter(|_| recovers);
        let wanted = recovery::wanted(&connect.auth);
        let mut is_known = false;
        let opening = sign_in.open_by(app, |username| {
            let known = recovery::known(asked?, username, wanted);
            is_known = known.is_some();
            known
        });
        let opening = opening.await?;
        let Opening { signed_in, request } = &opening;
        let pid = match asked {
            // The same `pid` says that nothing was missed.
            Some(asked) if is_known && recovery::is_exact(&request.start) => Some(asked.pid.to_owned()),
            _ => recovers
                .then(|| recovery::pid(&request.start, signed_in.principal.username.as_str(), wanted, &app.events)),
        };
        let stream: StreamId = signed_in.stream;
        Ok(Admission { state: Client::new(opening, recovers), pid, sid: Some(stream.to_string()) })
    }

    /// Does what a client asks for, as [`Application::event`](crate::transports::socket_io::Application::event).
    pub fn event<T: Types>(&self, client: &Arc<Client>, socket: &Socket<T>, event: Event<T>) -> Option<Work> {
        let Self(app) = self.clone();
        let Event { name, args, attachments, ack } = event;
        let command = match Command::read(&name, &args, &attachments) {
            Ok(command) => command,
            Err(error) => {
                tell(app.metrics(), socket, ack, &Answer::refused(error));
                return None;
            }
        };
        let socket = socket.clone();
        if let Some(turn) = client.take_turn(&command) {
            // What another command is answered is not known yet, and may be large.
            let weight = if command.is_of_stream() { 1 } else { MAX_WEIGHT };
            return Some(Work::weighing(weight, async move {
                let answer = turn.obey(&app, &command).await;
                tell(app.metrics(), &socket, ack, &answer);
            }));
        }
        let obeyed = client.obey(&app, &command);
        let weight = if let Ok(Obeyed::Later(doing)) = &obeyed { doing.weight() } else { 1 };
        Some(Work::weighing(weight, async move {
            let answer = finish(&app, obeyed).await;
            tell(app.metrics(), &socket, ack, &answer);
        }))
    }

    /// Writes a user's stream, as [`Application::stream`](crate::transports::socket_io::Application::stream). The stream is opened at
    /// once.
    pub fn stream<T: Types>(
        self,
        client: Arc<Client>,
        socket: Socket<T>,
        outlet: Outlet<T>,
    ) -> impl Future<Output = ()> {
        let Self(app) = self;
        let ended = Ended::default();
        let is_polling = matches!(outlet, Outlet::Polling(_));
        let has_offsets = client.has_offsets;
        let on_end = {
            let (socket, ended) = (socket.clone(), Rc::clone(&ended));
            Box::new(move |ending| {
                ended.set(Some(ending));
                say_end(&socket, ending);
            })
        };
        let opened = client.open(&app, |request| {
            open(&app, request, outlet, Some(on_end), |packets| Events::of(packets, has_offsets))
        });
        let stream = opened.unwrap_or_else(|error| {
            if error == Error::Unauthorized {
                shut_out(&socket, client.shut_out(&app));
            } else {
                log_fault(&error);
                socket.close();
            }
            None
        });
        OptionFuture::from(stream.map(|stream| {
            let noted = Arc::clone(&client);
            let note = move |stands: Option<HandOver>| {
                let is_over = stands.is_none();
                noted.stop(stands);
                is_over
            };
            Running::new(socket, is_polling, stream, note).map(move |(socket, is_over)| {
                if is_over {
                    match ended.get() {
                        Some(ending) => leave(&socket, ending.why),
                        // A stream that ends with something yet to be written does not say why.
                        None if client.is_shut_out(&app) => shut_out(&socket, client.shut_out(&app)),
                        None => socket.close(),
                    }
                }
            })
        }))
        .map(drop)
    }
}

/// Answers a command. A client that waits for no answer is told only of a refusal.
fn tell<T: Types>(metrics: &Metrics, socket: &Socket<T>, ack: Option<Ack<T>>, answer: &Answer) {
    answer.count(metrics);
    // Strings, numbers and events always serialize.
    let Ok(argument) = to_raw_value(answer) else { return };
    match (ack, answer) {
        (Some(ack), _) => {
            ack.send(&[argument], &[]);
        }
        (None, Answer::Refused { .. }) => {
            socket.emit(ERROR, &[argument], &[]);
        }
        (None, Answer::Done { .. }) => {}
    }
}

/// The reason for which a client is disconnected that is not to come back by itself, as one without control events is told it.
fn final_reason(why: End) -> Option<&'static str> {
    match why {
        End::Expired | End::Revoked => Some("sign_in_over"),
        End::Replaced => Some("replaced"),
        End::TooManyStreams => Some("too_many_streams"),
        // The client may come back at once.
        End::Stopping { .. } | End::Unreadable | End::Behind | End::Gone => None,
    }
}

/// Tells a client why its stream ends, if it asked for control events or is disconnected.
fn say_end<T: Types>(socket: &Socket<T>, Ending { why, told }: Ending) {
    let args = match (told, final_reason(why)) {
        (Some(id), _) => vec![control_event(&ControlEvent::End(why), id).1, json!({ "id": id.to_string() })],
        (None, Some(reason)) => vec![json!({ "reason": reason })],
        (None, None) => Vec::new(),
    };
    // What is made of strings and numbers always serializes.
    let args: Vec<_> = args.iter().filter_map(|arg| to_raw_value(arg).ok()).collect();
    if !args.is_empty() {
        socket.emit(END, &args, &[]);
    }
}

/// Ends what a client has whose stream has ended: one that is not to come back by itself is disconnected, and others lose the connection.
fn leave<T: Types>(socket: &Socket<T>, why: End) {
    match final_reason(why) {
        Some(_) => socket.disconnect(),
        None => socket.close(),
    }
}

/// Ends what a client has whose sign-in is over.
fn shut_out<T: Types>(socket: &Socket<T>, ending: Ending) {
    say_end(socket, ending);
    leave(socket, ending.why);
}
