//! anypop's way in: listening sockets, PROXY protocol, TLS, and strict HTTP/1 and HTTP/2 toward clients.
//!
//! In the order bytes pass through:
//! * [`listener`](Listener): sockets, accept loops, and what they share ([`Server`]); how many connections there may be.
//! * `accept`: PROXY header ([`parse_proxy_header`]), TLS ([`tls`]), and which protocol it is.
//! * [`head`]: request heads, with one meaning or a refusal.
//! * `h1` and `h2`: connections, and the sessions they make of requests. A session implements Pingora's custom-session trait, so that
//!   Pingora's proxy pipeline works on requests that were parsed here and only here, and every byte of a response is written here.
//! * [`application`](Application): what the edge implements, and the [`Event`]s it is told.

mod accept;
mod application;
mod client;
mod date;
mod h1;
mod h2;
pub mod head;
mod limits;
mod listener;
mod mode;
mod pace;
mod proxy_protocol;
mod session;
mod settings;
mod stream;
mod timer;
pub mod tls;

pub use application::{
    Application, ConnectionLimit, Event, HandshakeFailure, HotReply, HotResponse,
};
pub use client::{ClientCertificate, ClientInfo, Protocol, TlsInfo, Traffic};
pub use date::append_date;
pub use h1::{Chunk, ChunkedDecoder, write_whole_head};
pub use listener::{BindError, Listener, Server};
pub use mode::Mode;
/// The trait that both kinds of session implement, as [`Application::serve`] gets them.
pub use pingora_core::protocols::http::custom::server::Session;
pub use proxy_protocol::{ProxyAddresses, ProxyHeader, parse_proxy_header};
pub use settings::{DEFAULT_BACKLOG, Limits, ListenSettings};
