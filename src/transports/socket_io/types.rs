use std::hash::Hash;

/// The types that an application keeps of its clients.
pub trait Types: Sized + 'static {
    /// What is known of the request that opened a session, such as the address that it came from.
    type Peer: Send + Sync + 'static;

    /// The client that a session counts for, in the limits on sessions and memory: usually its network.
    type Client: Clone + Ord + Hash + Send + 'static;

    /// The site of a client: clients that one hand can have any number of. If memory is exhausted, it is the site with the most that loses
    /// sessions, and of its clients the one with the most.
    fn site(client: &Self::Client) -> Self::Client {
        client.clone()
    }

    /// What the application keeps of a socket. It is dropped, on any thread, when the socket has left its namespace, or its session has
    /// ended.
    type State: Send + Sync + 'static;
}
