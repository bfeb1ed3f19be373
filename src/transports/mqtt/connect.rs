//! How a client is let in.

use std::future::Future;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::basics::{METHOD, MemoryOf, say};
use super::client::{Client, Connection, Streaming};
use super::client_id::ClientId;
use super::inbound::{self, Inbound, MAX_ALIASES, RECEIVE_MAXIMUM, max_packet_bytes};
use super::log;
use super::outbound::{Limits, Outbound};
use super::packet::{Authentication, Connect, Decoder, Encoder, Packet, Property, Reason, Violation};
use super::reasons;
use super::session::{self, Before, Begun};
use super::shares::Memberships;
use super::sink::{PacketSink, Shared};
use super::weight;
use crate::app::{App, ConnectingClient, LastSeen, StreamQuery};
use crate::central::Rate;
use crate::domain::{ClientAddress, EventFilter, PublisherId, Secret};
use crate::error::Error;
use crate::events::{GoesOnFor, StreamOptions};
use crate::identity::{MqttCredentials, Principal};
use crate::transports::ws::{Inlet, Message, Outlet};

/// How long a client may take to say who it is.
const WITHIN: Duration = Duration::from_secs(10);
/// How large a CONNECT may be, in bytes: a token, and a will of 64 KiB.
const MAX_CONNECT_BYTES: usize = 128 << 10;

/// Waits for the CONNECT of a client unless the connection must end before, and lets the client in.
pub async fn connect(
    app: App,
    (mut inlet, outlet): (Inlet, Outlet),
    from: ClientAddress,
    must_end: impl Future<Output = ()>,
    memory: MemoryOf,
) -> Option<Client> {
    let mut decoder = Decoder::new(MAX_CONNECT_BYTES);
    let first = async {
        tokio::select! {
            biased;
            first = first(&mut inlet, &mut decoder) => first,
            () = must_end => None,
        }
    };
    let (connect, rest) = match timeout(WITHIN, first).await.ok().flatten()? {
        Ok(first) => first,
        Err(violation) => {
            log::not_let_in(None, from, violation.reason);
            if let Some(version) = violation.connack {
                say(&outlet, |out| {
                    Encoder::new(version).connack(out, false, violation.reason, Some(violation.what), &[]);
                });
            }
            return None;
        }
    };
    let encoder = Encoder::of(&connect);
    let refuse = |reason| {
        log::not_let_in(Some(&connect), from, reason);
        say(&outlet, |out| encoder.connack(out, false, reason, None, &[]));
        None
    };
    // Until it is known who it is, it counts as what strangers hold; and then for the user, until the session is found.
    inlet.hold(weight::of_connect(&connect));
    match let_in(&app, &connect, from).await {
        Ok(LetIn { principal, client_id, expiry }) => {
            inlet.set_memory(memory(&principal));
            decoder.set_max_packet_bytes(max_packet_bytes(&app));
            // It could be told neither that it is let in, nor anything else later.
            if welcome(&app, &connect, &client_id, expiry, false).is_empty() {
                return refuse(Reason::PacketTooLarge);
            }
            let begun = match begin_session(&app, &connect, &principal, &client_id, expiry).await {
                Ok(begun) => begun,
                Err(reason) => return refuse(reason),
            };
            let mut connection = Connection { inlet, outlet: outlet.clone(), decoder, received: rest };
            connection.inlet.hold(0);
            match open(app, connection, &connect, principal, &client_id, begun) {
                Ok(client) => Some(client),
                Err(reason) => refuse(reason),
            }
        }
        Err(reason) => refuse(reason),
    }
}

/// The CONNECT, and what has come behind it; `None` if the connection ends before.
async fn first(inlet: &mut Inlet, decoder: &mut Decoder) -> Option<Result<(Box<Connect>, Bytes), Violation>> {
    loop {
        let mut input = match inlet.next().await? {
            Message::Binary(bytes) => bytes,
            Message::Text(_) => return None,
        };
        match decoder.decode(&mut input) {
            Ok(Some(Packet::Connect(connect))) => return Some(Ok((connect, input))),
            // Nothing else is a first packet.
            Ok(Some(_)) => return None,
            Ok(None) => inlet.hold(decoder.held()),
            Err(violation) => return Some(Err(violation)),
        }
    }
}

/// Counts why a client is not let in. Returns how it is told so.
fn refused(app: &App, error: &Error) -> Reason {
    app.metrics().refused(error.code());
    reasons::of_connect(error)
}

/// A client that is let in.
struct LetIn {
    principal: Principal,
    /// What its session is called.
    client_id: ClientId,
    /// How long the session outlives the connection, in seconds.
    expiry: u32,
}

/// Finds out who a client is, and what its session is called.
async fn let_in(app: &App, connect: &Connect, from: ClientAddress) -> Result<LetIn, Reason> {
    let client_id = match connect.client_id.as_str() {
        _ if connect.must_refuse_client_id => None,
        "" => Some(ClientId::assign()),
        id => ClientId::parse(id),
    };
    let client_id = client_id.ok_or(Reason::ClientIdNotValid)?;
    let secret = |bytes: &Bytes| Secret::new(bytes.to_vec());
    let principal = match &connect.authentication {
        Some(Authentication { method, .. }) if method != METHOD => return Err(Reason::BadAuthenticationMethod),
        Some(Authentication { data, .. }) => {
            let token = data.as_ref().ok_or(Reason::BadUserNameOrPassword)?;
            app.identity.mqtt_token(&secret(&token.0)).map(Some)
        }
        None => {
            let password = connect.password.as_ref().map(|password| secret(&password.0));
            let username = connect.username.clone();
            app.identity.mqtt(MqttCredentials { username, password }, from).await
        }
    };
    let principal = principal.map_err(|error| refused(app, &error))?.ok_or(Reason::NotAuthorized)?;
    let of = (&principal.username, &principal.account.tenant);
    app.central.take(Rate::MqttConnects, of, 1).await.map_err(|error| {
        refused(app, &error);
        Reason::ConnectionRateExceeded
    })?;
    if !connect.shows_nothing() {
        return Ok(LetIn { principal, client_id, expiry: connect.session_expiry });
    }
    // Whoever shows nothing cannot show either that a session is theirs. One that was assigned is nobody else's.
    let client_id = if connect.client_id.is_empty() { client_id } else { client_id.of_stranger(from) };
    Ok(LetIn { principal, client_id, expiry: 0 })
}

/// Begins the session of a client, or has it go on, once no other connection has it.
async fn begin_session(
    app: &App,
    connect: &Connect,
    principal: &Principal,
    client_id: &ClientId,
    expiry: u32,
) -> Result<Begun, Reason> {
    let publisher = client_id.publisher(&principal.username);
    let will = connect.will.as_ref().map(|will| inbound::will(app, principal, will, publisher));
    let client = ConnectingClient {
        client_id: client_id.as_str().into(),
        clean_start: connect.clean_start,
        expiry,
        publisher: PublisherId(publisher),
        will: will.transpose().map_err(|error| reasons::of_will(&error))?,
        // All that have the key are one user.
        may_exceed: principal.is_mqtt_handler(),
    };
    let key = (principal.username.clone(), client_id.as_str().into());
    // Another connection of the same session ends first.
    let held = timeout(WITHIN, app.mqtt_sessions.claim(key)).await.map_err(|_| Reason::ServerBusy)?;
    session::begin(app.clone(), principal.clone(), client, held).await
}

/// Opens the stream of a client, and says that it is let in.
fn open(
    app: App,
    connection: Connection,
    connect: &Connect,
    principal: Principal,
    client_id: &ClientId,
    mut begun: Begun,
) -> Result<Client, Reason> {
    let is_present = begun.before.is_some();
    let topics = begun.before.as_mut().map(|before| std::mem::take(&mut before.topics)).unwrap_or_default();
    // Before the stream is opened: what comes from here on is not from while the client was away.
    let head = app.events.head();
    let query = StreamQuery {
        filter: EventFilter::topics(topics).map_err(|_| Reason::QuotaExceeded)?,
        last_seen: LastSeen::Position(begun.before.as_ref().map_or(head, |before| before.progress.position)),
        goes_on: GoesOnFor::None,
        snapshot: false,
        options: StreamOptions { backfill: false, ..StreamOptions::default() },
    };
    let request = app.events.subscribe(&principal, query).map_err(|error| refused(&app, &error))?;
    let shares = begun.before.as_mut().map(|before| std::mem::take(&mut before.shares)).unwrap_or_default();
    let shares = Memberships::of(&app, &principal, shares).map_err(|error| refused(&app, &error))?;
    let session = begun.session();
    let (keeper, held, before) = begun.into_parts().ok_or(Reason::Unspecified)?;
    let publisher = client_id.publisher(&principal.username);
    let limits = Limits {
        version: connect.version,
        receive_maximum: connect.receive_maximum,
        maximum_packet_size: connect.maximum_packet_size,
        topic_alias_maximum: connect.topic_alias_maximum,
        publisher,
        keeps: keeper.kept().is_some(),
    };
    let (mut outbound, inbound) = match before {
        Some(Before { progress, filters, unreleased, .. }) => {
            (Outbound::resumed(limits, filters, progress, head), Inbound::resumed(unreleased))
        }
        None => (Outbound::new(limits, request.start.after), Inbound::default()),
    };
    outbound.shares = shares;
    outbound.count(app.mqtt_stats.count_client(&principal.account.tenant));
    let outlet = &connection.outlet;
    say(outlet, |out| out.extend(welcome(&app, connect, client_id, keeper.expiry(), is_present)));
    // What it writes comes after that.
    let shared = Shared::new(outbound, outlet);
    let stream = request.presence_guard.id;
    let sink = PacketSink::new(&shared, app.events.clock().clone(), session);
    let catch_up = app.open(request, sink, Bytes::new());
    let streaming = Streaming { stream, catch_up, shared, publisher, keeper, held };
    Ok(Client::new(app, connection, connect, principal, inbound, streaming))
}

/// The CONNACK of a client that is let in; nothing if the client does not take packets of that size.
fn welcome(app: &App, connect: &Connect, client_id: &ClientId, expiry: u32, is_present: bool) -> Vec<u8> {
    let assigned = connect.client_id.is_empty().then(|| Property::AssignedClientIdentifier(client_id.as_str()));
    let most = u32::try_from(max_packet_bytes(app)).unwrap_or(u32::MAX);
    let properties = [
        NonZeroU16::new(RECEIVE_MAXIMUM).map(Property::ReceiveMaximum),
        most.try_into().ok().map(Property::MaximumPacketSize),
        (expiry != connect.session_expiry).then_some(Property::SessionExpiryInterval(expiry)),
        Some(Property::TopicAliasMaximum(MAX_ALIASES)),
        assigned,
        connect.authentication.as_ref().map(|_| Property::AuthenticationMethod(METHOD)),
    ];
    let properties: Vec<_> = properties.into_iter().flatten().collect();
    let mut out = Vec::new();
    Encoder::of(connect).connack(&mut out, is_present, Reason::Success, None, &properties);
    out
}
