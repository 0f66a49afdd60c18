//! HTTP/2 toward clients (RFC 9113), on the `h2` crate.
//!
//! [`connection`] accepts streams, checks each request as strictly as HTTP/1's ([`request`]) and gives it a task with a [`session`].
//! [`meter`] looks at the frames that come in and notices abuse that the `h2` crate does not know as such.

mod connection;
mod meter;
mod request;
mod session;
mod stream;

pub(crate) use connection::serve;
