//! Reason codes (MQTT 5.0, 2.4).

/// What a packet says of how something went. Codes below 0x80 are no faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Success; in DISCONNECT: a normal end.
    Success = 0x00,
    /// The client ends the connection and wants its will published.
    DisconnectWithWill = 0x04,
    /// Nobody has subscribed to what was published.
    NoMatchingSubscribers = 0x10,
    /// There was no such subscription.
    NoSubscriptionExisted = 0x11,
    /// The exchange of authentication data goes on.
    ContinueAuthentication = 0x18,
    /// The client authenticates again.
    Reauthenticate = 0x19,
    /// No other code fits, or the reason is not told.
    Unspecified = 0x80,
    /// The packet cannot be parsed.
    MalformedPacket = 0x81,
    /// The packet, or its place, is not allowed.
    ProtocolError = 0x82,
    /// The packet is valid and the server does not take it.
    ImplementationSpecific = 0x83,
    /// The server does not speak this version.
    UnsupportedVersion = 0x84,
    /// The server does not take this client identifier.
    ClientIdNotValid = 0x85,
    /// The server does not take this user name or password.
    BadUserNameOrPassword = 0x86,
    /// The client may not do this.
    NotAuthorized = 0x87,
    /// There is no service.
    ServerUnavailable = 0x88,
    /// The client should try again later.
    ServerBusy = 0x89,
    /// The client is shut out.
    Banned = 0x8A,
    /// The server stops.
    ServerShuttingDown = 0x8B,
    /// The authentication method is unknown, or not the one from before.
    BadAuthenticationMethod = 0x8C,
    /// Nothing came for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection has taken the session.
    SessionTakenOver = 0x8E,
    /// The filter is well-formed and the server does not take it.
    TopicFilterInvalid = 0x8F,
    /// The topic is well-formed and the server does not take it.
    TopicNameInvalid = 0x90,
    /// The packet identifier is in use.
    PacketIdInUse = 0x91,
    /// The packet identifier is not in use.
    PacketIdNotFound = 0x92,
    /// More is unacknowledged than the receiver allows.
    ReceiveMaximumExceeded = 0x93,
    /// The topic alias is 0, or greater than the receiver allows.
    TopicAliasInvalid = 0x94,
    /// The packet is larger than the receiver allows.
    PacketTooLarge = 0x95,
    /// Too much comes in too short a time.
    MessageRateTooHigh = 0x96,
    /// A limit of the server is reached.
    QuotaExceeded = 0x97,
    /// An administrator has ended the connection.
    AdministrativeAction = 0x98,
    /// The payload is not what its payload format indicator says.
    PayloadFormatInvalid = 0x99,
    /// The server retains nothing.
    RetainNotSupported = 0x9A,
    /// The server does not have this QoS.
    QosNotSupported = 0x9B,
    /// The client should use another server for now.
    UseAnotherServer = 0x9C,
    /// The client should use another server from now on.
    ServerMoved = 0x9D,
    /// The server has no shared subscriptions.
    SharedSubscriptionsNotSupported = 0x9E,
    /// Too many connect in too short a time.
    ConnectionRateExceeded = 0x9F,
    /// The connection has lasted as long as it may.
    MaximumConnectTime = 0xA0,
    /// The server has no subscription identifiers.
    SubscriptionIdsNotSupported = 0xA1,
    /// The server has no wildcards.
    WildcardsNotSupported = 0xA2,
}

/// What a client may say in PUBACK and PUBREC (MQTT 5.0, 3.4.2.1 and 3.5.2.1).
pub(super) const OF_PUBACK: &[Reason] = &[
    Reason::Success,
    Reason::NoMatchingSubscribers,
    Reason::Unspecified,
    Reason::ImplementationSpecific,
    Reason::NotAuthorized,
    Reason::TopicNameInvalid,
    Reason::PacketIdInUse,
    Reason::QuotaExceeded,
    Reason::PayloadFormatInvalid,
];
/// What a client may say in PUBREL and PUBCOMP (MQTT 5.0, 3.6.2.1 and 3.7.2.1).
pub(super) const OF_PUBREL: &[Reason] = &[Reason::Success, Reason::PacketIdNotFound];
/// What a client may say in DISCONNECT (MQTT 5.0, 3.14.2.1).
pub(super) const OF_DISCONNECT: &[Reason] = &[
    Reason::Success,
    Reason::DisconnectWithWill,
    Reason::Unspecified,
    Reason::MalformedPacket,
    Reason::ProtocolError,
    Reason::ImplementationSpecific,
    Reason::TopicNameInvalid,
    Reason::ReceiveMaximumExceeded,
    Reason::TopicAliasInvalid,
    Reason::PacketTooLarge,
    Reason::MessageRateTooHigh,
    Reason::QuotaExceeded,
    Reason::AdministrativeAction,
    Reason::PayloadFormatInvalid,
];
/// What a client may say in AUTH (MQTT 5.0, 3.15.2.1).
pub(super) const OF_AUTH: &[Reason] = &[Reason::ContinueAuthentication, Reason::Reauthenticate];

impl Reason {
    /// Its number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether it says that something failed.
    pub fn is_failure(self) -> bool {
        self.code() >= 0x80
    }

    /// What a CONNACK of MQTT 3.1 and 3.1.1 says in its place (MQTT 3.1.1, 3.2.2.3).
    pub fn connack_code_v3(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::UnsupportedVersion => 1,
            Self::ClientIdNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => 5,
            _ => 3,
        }
    }
}
