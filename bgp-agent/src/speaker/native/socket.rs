//! A TCP socket as BGP wants it.

#![expect(
    unsafe_code,
    reason = "TCP_MD5SIG and the minimum TTL have no safe wrapper"
)]

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::Neighbor;

/// DSCP CS6, network control (RFC 4594 §3.1), as the TOS byte has it.
const TOS_CS6: u32 = 0xC0;
/// A router on the same link, or GTSM.
const TTL_MAX: u32 = 255;
/// Connecting may not take longer than a try may wait for the next.
const CONNECT: Duration = Duration::from_secs(5);

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5Signature {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; libc::TCP_MD5SIG_MAXKEYLEN],
}

/// Connects, with every option set before the first packet.
///
/// # Errors
/// What the system says, or that it took longer than 5 s.
pub(super) async fn connect(neighbor: &Neighbor) -> io::Result<TcpStream> {
    let socket = prepare(neighbor)?;
    let socket = TcpSocket::from_std_stream(socket.into());
    tokio::time::timeout(CONNECT, socket.connect(neighbor.address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nobody answers"))?
}

fn prepare(neighbor: &Neighbor) -> io::Result<Socket> {
    let v6 = neighbor.address.is_ipv6();
    let socket = Socket::new(
        Domain::for_address(neighbor.address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    if !neighbor.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(neighbor.user_timeout))?;
    }
    let ttl = match neighbor.ttl {
        _ if neighbor.ttl_security => Some(TTL_MAX),
        Some(ttl) => Some(u32::from(ttl)),
        None if neighbor.asn != neighbor.local_asn => Some(1),
        None => None,
    };
    if v6 {
        socket.set_tclass_v6(TOS_CS6)?;
        if let Some(ttl) = ttl {
            socket.set_unicast_hops_v6(ttl)?;
        }
    } else {
        socket.set_tos_v4(TOS_CS6)?;
        if let Some(ttl) = ttl {
            socket.set_ttl_v4(ttl)?;
        }
    }
    if neighbor.ttl_security {
        let (level, name) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
        } else {
            (libc::IPPROTO_IP, libc::IP_MINTTL)
        };
        let least: libc::c_int = 255;
        set(&socket, level, name, &least)?;
    }
    if let Some(password) = &neighbor.password {
        sign(&socket, neighbor.address, password)?;
    }
    if let Some(source) = neighbor.source {
        match source {
            IpAddr::V4(_) => socket.set_freebind_v4(true)?,
            IpAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    Ok(socket)
}

/// TCP-MD5, RFC 2385.
fn sign(socket: &Socket, peer: SocketAddr, password: &[u8]) -> io::Result<()> {
    let mut key = [0; libc::TCP_MD5SIG_MAXKEYLEN];
    let too_long = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the password is longer than 80 bytes",
        )
    };
    key.get_mut(..password.len())
        .ok_or_else(too_long)?
        .copy_from_slice(password);
    // The kernel looks at the address alone.
    let address = SockAddr::from(SocketAddr::new(peer.ip(), 0));
    let signature = Md5Signature {
        address: storage(&address),
        flags: 0,
        prefix_length: 0,
        key_length: u16::try_from(password.len()).map_err(|_| too_long())?,
        interface: 0,
        key,
    };
    set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &signature)
}

fn storage(address: &SockAddr) -> libc::sockaddr_storage {
    // SAFETY: sockaddr_storage is plain data, for which all zeros is a value.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = (address.len() as usize).min(size_of::<libc::sockaddr_storage>());
    // SAFETY: `address` holds `len` initialised bytes, and `storage` at least as many.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut storage).cast::<u8>(),
            length,
        );
    }
    storage
}

fn set<T>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is open while `socket` lives, and `value` is `length` readable bytes.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
