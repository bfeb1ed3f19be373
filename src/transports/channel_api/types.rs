use super::client::Client;
use crate::app::App;
use crate::domain::Network;
use crate::transports::socket_io::Types;

/// The application of ChannelAPI's clients, on one worker.
#[derive(Clone)]
pub struct ChannelApi(pub(super) App);

impl Types for ChannelApi {
    type Peer = ();
    type Client = Network;
    type State = Client;
}
