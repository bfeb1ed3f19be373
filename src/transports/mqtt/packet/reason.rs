//! Reason codes (MQTT 5.0, 2.4).

/// A reason code. From 0x80 on it is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Success; in DISCONNECT: a normal end.
    Success = 0x00,
    /// The client disconnects, and the will is to be published.
    DisconnectWithWill = 0x04,
    /// The message has no subscribers.
    NoMatchingSubscribers = 0x10,
    /// There was no such subscription.
    NoSubscriptionExisted = 0x11,
    /// The exchange of authentication data goes on.
    ContinueAuthentication = 0x18,
    /// The client authenticates again.
    Reauthenticate = 0x19,
    /// No other code fits, or the reason is kept secret.
    Unspecified = 0x80,
    /// The packet cannot be parsed.
    MalformedPacket = 0x81,
    /// The packet is not allowed, or not at this time.
    ProtocolError = 0x82,
    /// The packet is valid, and the server does not accept it.
    ImplementationSpecific = 0x83,
    /// The server does not support this version.
    UnsupportedVersion = 0x84,
    /// The client identifier is not allowed.
    ClientIdNotValid = 0x85,
    /// The user name or password is wrong.
    BadUserNameOrPassword = 0x86,
    /// The client may not do this.
    NotAuthorized = 0x87,
    /// The server is not available.
    ServerUnavailable = 0x88,
    /// The client should try again later.
    ServerBusy = 0x89,
    /// The client is banned.
    Banned = 0x8A,
    /// The server stops.
    ServerShuttingDown = 0x8B,
    /// The authentication method is unknown, or not the one from before.
    BadAuthenticationMethod = 0x8C,
    /// The client sent nothing for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection took over the session.
    SessionTakenOver = 0x8E,
    /// The topic filter is well-formed, and the server does not accept it.
    TopicFilterInvalid = 0x8F,
    /// The topic name is well-formed, and the server does not accept it.
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
    /// The message rate is too high.
    MessageRateTooHigh = 0x96,
    /// A limit of the server is reached.
    QuotaExceeded = 0x97,
    /// An administrator has ended the connection.
    AdministrativeAction = 0x98,
    /// The payload is not what its payload format indicator says.
    PayloadFormatInvalid = 0x99,
    /// The server does not support retained messages.
    RetainNotSupported = 0x9A,
    /// The server does not support this QoS.
    QosNotSupported = 0x9B,
    /// The client should use another server for now.
    UseAnotherServer = 0x9C,
    /// The client should use another server from now on.
    ServerMoved = 0x9D,
    /// The server does not support shared subscriptions.
    SharedSubscriptionsNotSupported = 0x9E,
    /// The rate of connections is too high.
    ConnectionRateExceeded = 0x9F,
    /// The connection has lasted as long as it may.
    MaximumConnectTime = 0xA0,
    /// The server does not support subscription identifiers.
    SubscriptionIdsNotSupported = 0xA1,
    /// The server does not support wildcards.
    WildcardsNotSupported = 0xA2,
}

/// The reason codes of a client in PUBACK and PUBREC (MQTT 5.0, 3.4.2.1 and 3.5.2.1).
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
/// The reason codes of a client in PUBREL and PUBCOMP (MQTT 5.0, 3.6.2.1 and 3.7.2.1).
pub(super) const OF_PUBREL: &[Reason] = &[Reason::Success, Reason::PacketIdNotFound];
/// The reason codes of a client in DISCONNECT (MQTT 5.0, 3.14.2.1).
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
/// The reason codes of a client in AUTH (MQTT 5.0, 3.15.2.1).
pub(super) const OF_AUTH: &[Reason] = &[Reason::ContinueAuthentication, Reason::Reauthenticate];

impl Reason {
    /// The number of the code.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether it is a failure.
    pub fn is_failure(self) -> bool {
        self.code() >= 0x80
    }

    /// The return code in its place in a CONNACK of MQTT 3.1 and 3.1.1 (MQTT 3.1.1, 3.2.2.3).
    pub fn connack_code_v3(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::UnsupportedVersion => 1,
            Self::ClientIdNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            // Those of clients that are told to try again by another code would do so for ever.
            Self::NotAuthorized
            | Self::Banned
            | Self::BadAuthenticationMethod
            | Self::TopicNameInvalid
            | Self::PacketTooLarge => 5,
            _ => 3,
        }
    }
}
