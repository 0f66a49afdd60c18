//! Listening sockets and their accept loops.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::accept::{Accepted, serve_connection};
use crate::application::{Application, Event};
use crate::limits::Connections;
use crate::mode::{Mode, ModeWatch};
use crate::settings::{Limits, ListenSettings};
use crate::tls::Certificates;

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process, or another listener of this one, has the port.
    #[error(
        "{0}: the address is in use; stop the process that listens there (see `ss -ltnp`) or choose another port"
    )]
    InUse(SocketAddr),
    /// Ports below 1024 need a privilege.
    #[error("{0}: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE")]
    Permission(SocketAddr),
    /// The machine does not have the address.
    #[error(
        "{0}: no interface of this machine has the address; configure it or set net.ipv4.ip_nonlocal_bind"
    )]
    NotLocal(SocketAddr),
    /// Anything else.
    #[error("{0}: {1}")]
    Other(SocketAddr, #[source] io::Error),
}

impl BindError {
    fn new(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Permission(address),
            io::ErrorKind::AddrNotAvailable => Self::NotLocal(address),
            _ => Self::Other(address, error),
        }
    }
}

/// What all listeners of a node share: the application, the limits and the count of connections.
pub struct Server<A> {
    pub(crate) app: Arc<A>,
    limits: ArcSwap<Limits>,
    connections: Connections,
    pub(crate) certificates: Arc<dyn Certificates>,
    mode: watch::Receiver<Mode>,
    last_id: AtomicU64,
}

impl<A: Application> Server<A> {
    /// `certificates` are asked by listeners with TLS only.
    pub fn new(
        app: Arc<A>,
        limits: Limits,
        certificates: Arc<dyn Certificates>,
        mode: watch::Receiver<Mode>,
    ) -> Self {
        Self {
            app,
            limits: ArcSwap::from_pointee(limits),
            connections: Connections::new(),
            certificates,
            mode,
            last_id: AtomicU64::new(0),
        }
    }

    /// Replaces the limits for connections accepted from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// How many connections are open, over all listeners.
    pub fn open_connections(&self) -> usize {
        self.connections.open()
    }

    pub(crate) fn mode(&self) -> ModeWatch {
        ModeWatch::new(self.mode.clone())
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}

/// A bound socket that accepts nothing yet.
#[derive(Debug)]
pub struct Listener {
    socket: StdListener,
    settings: Arc<ListenSettings>,
}

impl Listener {
    /// Binds and listens. The kernel queues connections from here on; they are accepted when [`run`](Self::run) is called, so
    /// a node can bind all its addresses before it serves any of them.
    ///
    /// # Errors
    /// [`BindError`] names the address and what to do.
    pub fn bind(settings: ListenSettings) -> Result<Self, BindError> {
        let address = settings.address;
        let socket = listen(&settings).map_err(|error| BindError::new(address, error))?;
        Ok(Self {
            socket,
            settings: Arc::new(settings),
        })
    }

    /// Takes a socket that listens already, e.g. from an earlier generation of the process.
    pub fn from_socket(socket: StdListener, settings: ListenSettings) -> Self {
        Self {
            socket,
            settings: Arc::new(settings),
        }
    }

    /// The address it is bound to, with the port the system chose.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket, e.g. to hand it to the next generation of the process.
    pub fn socket(&self) -> &StdListener {
        &self.socket
    }

    /// Another handle of the same socket, so that several runtimes can accept from it.
    ///
    /// # Errors
    /// Those of `dup`.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            settings: Arc::clone(&self.settings),
        })
    }

    /// Accepts and serves connections on the current runtime until the mode is [`Mode::Stop`], and returns when the last of them is
    /// closed. Dropped earlier, it stops accepting, and connections go on.
    ///
    /// # Errors
    /// When the socket cannot be used by the runtime. Errors of single connections are events, not errors.
    pub async fn run<A: Application>(self, server: Arc<Server<A>>) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(self.socket)?;
        let tasks = TaskTracker::new();
        let mut stopped = std::pin::pin!(server.mode().until_stopped());
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => begin(&server, &self.settings, &tasks, stream, peer),
                    Err(error) => {
                        server.app.event(Event::AcceptFailed(&error));
                        if is_shortage(&error) {
                            // The connection stays in the queue; without a pause the loop would spin.
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                },
            }
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

/// Counts a connection in and gives it a task.
fn begin<A: Application>(
    server: &Arc<Server<A>>,
    settings: &Arc<ListenSettings>,
    tasks: &TaskTracker,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let accepted = Instant::now();
    let limits = server.limits.load_full();
    let slot = match server.connections.enter(limits.connections) {
        Ok(slot) => slot,
        Err(limit) => {
            server.app.event(Event::Refused { peer, limit });
            return;
        }
    };
    // A connection that is gone already has no address.
    let Ok(local) = stream.local_addr() else {
        return;
    };
    tune(&stream, &limits);
    let accepted = Accepted {
        stream,
        peer: canonical(peer),
        local: canonical(local),
        accepted,
        slot,
        limits,
        settings: Arc::clone(settings),
    };
    tasks.spawn(serve_connection(Arc::clone(server), accepted));
}

/// IPv4 addresses as such, also those that came over a socket for both families.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn listen(settings: &ListenSettings) -> io::Result<StdListener> {
    let socket = Socket::new(
        Domain::for_address(settings.address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Without it, connections of the process before in TIME_WAIT would keep the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(settings.reuse_port)?;
    if settings.address.is_ipv6() {
        // "[::]" and "0.0.0.0" are two listeners.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&settings.address.into())?;
    socket.listen(settings.backlog)?;
    Ok(socket.into())
}

/// Sets what keeps a connection quick, and finds out when its peer is gone.
fn tune(stream: &TcpStream, limits: &Limits) {
    let socket = SockRef::from(stream);
    // A socket that refuses an option is closed already, which the first read will tell.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(limits.write_timeout));
}

/// Whether `accept` failed for want of descriptors or memory.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
