//! One session: the state machine's actions become bytes and timers.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use rustbgpd_fsm::{
    Action, Event, NegotiatedSession, PeerConfig, Session as Machine, SessionState, TimerType,
};
use rustbgpd_wire::{
    Afi, Capability, EXTENDED_MAX_MESSAGE_LEN, MAX_MESSAGE_LEN, Message, OpenMessage, Safi,
    encode_message_with_limit,
    notification::{self, encode_shutdown_communication, extract_shutdown_communication},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    super::{Close, Said},
    Neighbor,
    adjacency::{Adjacency, Inbound, Offence},
    codec::{Updates, decode, encode},
    neighbor::{Shared, closed},
};

/// RFC 4271 suggests 4 minutes of patience for an OPEN. A router that is silent for so long is no
/// use, and the next try may find a better one.
const OPEN_PATIENCE: u32 = 15;
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a write may be stuck where there is no hold time.
const STUCK: Duration = Duration::from_secs(30);

/// How a session ended.
pub(super) enum End {
    /// The speaker was closed.
    Closed,
    /// This is what went wrong.
    Failed(String),
}

/// A session over a connection that stands.
pub(super) struct Session<'a> {
    config: &'a Neighbor,
    stream: TcpStream,
    table: watch::Receiver<Said>,
    closing: watch::Receiver<Option<Close>>,
    shared: &'a Arc<Shared>,
    machine: Machine,
    /// Whether it would be the process's first with this neighbour.
    first: bool,
    limit: u16,
    hold: Option<Instant>,
    keepalive: Option<Instant>,
    updates: Option<Updates>,
    adjacency: Adjacency,
    inbound: Inbound,
    /// Why it ends, as far as is known.
    fault: Option<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        config: &'a Neighbor,
        stream: TcpStream,
        table: watch::Receiver<Said>,
        closing: watch::Receiver<Option<Close>>,
        shared: &'a Arc<Shared>,
        first: bool,
    ) -> Self {
        let mut peer = PeerConfig::new(config.local_asn, config.asn, config.router_id);
        peer.hold_time = config.hold_time;
        peer.families = vec![(Afi::Ipv4, Safi::Unicast), (Afi::Ipv6, Safi::Unicast)];
        peer.graceful_restart = config.graceful_restart > 0;
        peer.gr_restart_time = config.graceful_restart;
        Self {
            config,
            stream,
            table,
            closing,
            shared,
            machine: Machine::new(peer),
            first,
            limit: MAX_MESSAGE_LEN,
            hold: None,
            keepalive: None,
            updates: None,
            adjacency: Adjacency::default(),
            inbound: Inbound::new(config.max_received),
            fault: None,
        }
    }

    /// Runs it to its end. `first` becomes false once it is established.
    pub(super) async fn run(mut self, first: &mut bool) -> End {
        // Connecting is ours; the machine is shown what it expects to have happened.
        let _ = self.machine.handle_event(Event::ManualStart);
        let end = self.live().await;
        if self.updates.is_some() {
            *first = false;
        }
        end
    }

    async fn live(&mut self) -> End {
        let mut inbox = BytesMut::with_capacity(usize::from(MAX_MESSAGE_LEN));
        if let Err(error) = self.event(Event::TcpConnectionConfirmed).await {
            return self.over(error);
        }
        let mut closing = self.closing.clone();
        loop {
            let established = self.updates.is_some();
            let step = tokio::select! {
                biased;
                how = closed(&mut closing) => return self.farewell(how).await,
                changed = self.table.changed(), if established => match changed {
                    Ok(()) => self.tell().await,
                    Err(_) => return End::Closed,
                },
                () = sleep_until(self.hold.unwrap_or_else(Instant::now)), if self.hold.is_some() => {
                    self.hold = None;
                    self.fault.get_or_insert("hold time expired".to_owned());
                    self.event(Event::HoldTimerExpires).await
                }
                () = sleep_until(self.keepalive.unwrap_or_else(Instant::now)), if self.keepalive.is_some() => {
                    self.keepalive = None;
                    self.event(Event::KeepaliveTimerExpires).await
                }
                read = self.stream.read_buf(&mut inbox) => match read {
                    Ok(0) => {
                        self.fault.get_or_insert("the router closed the connection".to_owned());
                        self.event(Event::TcpConnectionFails).await
                    }
                    Ok(_) => self.messages(&mut inbox).await,
                    Err(error) => {
                        self.fault.get_or_insert(error.to_string());
                        self.event(Event::TcpConnectionFails).await
                    }
                },
            };
            match step {
                // Only actively: without a connection there is nothing to wait for.
                Ok(())
                    if matches!(
                        self.machine.state(),
                        SessionState::Idle | SessionState::Active
                    ) =>
                {
                    return self.over(io::Error::other("the session ended"));
                }
                Ok(()) => {}
                Err(error) => return self.over(error),
            }
        }
    }

    fn over(&mut self, error: io::Error) -> End {
        End::Failed(self.fault.take().unwrap_or_else(|| error.to_string()))
    }

    /// Takes every whole message out of the inbox.
    async fn messages(&mut self, inbox: &mut BytesMut) -> io::Result<()> {
        loop {
            let message = match decode(inbox, self.limit) {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.fault
                        .get_or_insert(format!("the router sent: {error}"));
                    return self.event(Event::DecodeError(error)).await;
                }
            };
            let event = match message {
                Message::Open(open) => Event::OpenReceived(open),
                Message::Keepalive => Event::KeepaliveReceived,
                Message::Notification(said) => {
                    let reason = extract_shutdown_communication(&said)
                        .ok()
                        .flatten()
                        .unwrap_or_default();
                    self.fault.get_or_insert(format!(
                        "the router said {}/{} {} {reason}",
                        said.code,
                        said.subcode,
                        notification::description(said.code, said.subcode),
                    ));
                    Event::NotificationReceived(said)
                }
                Message::Update(update) if self.updates.is_some() => self.receive(&update),
                Message::Update(_) => Event::UpdateReceived,
                Message::RouteRefresh(request) => {
                    let family = (request.afi(), request.safi());
                    self.refresh(family);
                    match family {
                        (Some(afi), Some(safi)) => Event::RouteRefreshReceived { afi, safi },
                        // An unknown family's request is ignored (RFC 2918 §4).
                        _ => continue,
                    }
                }
                _ => continue,
            };
            let refresh = matches!(event, Event::RouteRefreshReceived { .. });
            self.event(event).await?;
            if self.machine.state() == SessionState::Idle {
                return Ok(());
            }
            if refresh && self.updates.is_some() {
                self.tell().await?;
            }
        }
    }

    /// Forgets what was announced in the family, so that it is announced again (RFC 2918).
    fn refresh(&mut self, family: (Option<Afi>, Option<Safi>)) {
        let v4 = match family {
            (Some(Afi::Ipv4), Some(Safi::Unicast)) => true,
            (Some(Afi::Ipv6), Some(Safi::Unicast)) => false,
            _ => return,
        };
        self.adjacency
            .out
            .retain(|prefix, _| prefix.addr().is_ipv4() != v4);
    }

    fn receive(&mut self, update: &rustbgpd_wire::UpdateMessage) -> Event {
        let four_octets = self.updates.as_ref().is_some_and(|u| u.four_octets);
        let external = self.config.asn != self.config.local_asn;
        let taken = self.inbound.take(update, four_octets, external);
        let (received, malformed) = (self.inbound.len() as u64, self.inbound.malformed);
        self.shared.change(|peer| {
            peer.received = received;
            peer.malformed = malformed;
        });
        match taken {
            Ok(()) => Event::UpdateReceived,
            Err(Offence::Unreadable(error)) => {
                self.fault
                    .get_or_insert(format!("the router sent: {error}"));
                Event::DecodeError(error)
            }
            Err(Offence::TooMany(notification)) => {
                self.fault.get_or_insert(format!(
                    "the router announced more than {} prefixes",
                    self.config.max_received
                ));
                Event::UpdateValidationError(notification)
            }
        }
    }

    async fn event(&mut self, event: Event) -> io::Result<()> {
        for action in self.machine.handle_event(event) {
            self.act(action).await?;
        }
        Ok(())
    }

    async fn act(&mut self, action: Action) -> io::Result<()> {
        match action {
            Action::SendOpen(open) => {
                let open = Message::Open(self.adapt(open));
                self.send(&open).await
            }
            Action::SendKeepalive => self.send(&Message::Keepalive).await,
            Action::SendNotification(notification) => {
                self.fault.get_or_insert_with(|| {
                    format!(
                        "sent {}/{} {}",
                        notification.code,
                        notification.subcode,
                        notification::description(notification.code, notification.subcode)
                    )
                });
                // The last word: whether it arrives changes nothing here.
                let message = Message::Notification(notification);
                let _ = timeout(FAREWELL, self.send(&message)).await;
                let _ = timeout(FAREWELL, self.stream.shutdown()).await;
                Ok(())
            }
            Action::StartTimer(timer, seconds) => {
                let seconds = match timer {
                    TimerType::Hold if self.machine.state() == SessionState::OpenSent => {
                        seconds.min(OPEN_PATIENCE)
                    }
                    _ => seconds,
                };
                let due = Instant::now() + Duration::from_secs(u64::from(seconds));
                match timer {
                    TimerType::Hold => self.hold = Some(due),
                    TimerType::Keepalive => self.keepalive = Some(due),
                    _ => {}
                }
                Ok(())
            }
            Action::StopTimer(TimerType::Hold) => {
                self.hold = None;
                Ok(())
            }
            Action::StopTimer(TimerType::Keepalive) => {
                self.keepalive = None;
                Ok(())
            }
            Action::StateChanged { old, new } => {
                tracing::debug!(neighbor = %self.config.address, %old, %new, "BGP state");
                self.shared
                    .change(|peer| new.as_str().clone_into(&mut peer.state));
                Ok(())
            }
            Action::SessionEstablished(agreed) => self.established(&agreed).await,
            _ => Ok(()),
        }
    }

    /// The OPEN as this agent means it.
    fn adapt(&self, mut open: OpenMessage) -> OpenMessage {
        // A refresh is answered with the table, without the marks of RFC 7313.
        open.capabilities
            .retain(|capability| !matches!(capability, Capability::EnhancedRouteRefresh));
        for capability in &mut open.capabilities {
            if let Capability::GracefulRestart {
                restart_state,
                notification,
                families,
                ..
            } = capability
            {
                *restart_state = self.first;
                // A NOTIFICATION ends the routes too (not RFC 8538): leaving means leaving.
                *notification = false;
                // The data plane is another process, and goes on while the agent restarts.
                for family in families {
                    family.forwarding_preserved = true;
                }
            }
        }
        open
    }

    async fn established(&mut self, agreed: &NegotiatedSession) -> io::Result<()> {
        if agreed.peer_extended_message {
            self.limit = EXTENDED_MAX_MESSAGE_LEN;
        }
        let family = |afi| agreed.negotiated_families.contains(&(afi, Safi::Unicast));
        let updates = Updates {
            local_asn: self.config.local_asn,
            peer_asn: agreed.peer_asn,
            local: self.stream.local_addr()?.ip(),
            v4: family(Afi::Ipv4),
            v6: family(Afi::Ipv6),
            v4_over_v6: agreed
                .extended_nexthop_families
                .get(&(Afi::Ipv4, Safi::Unicast))
                == Some(&Afi::Ipv6),
            four_octets: agreed.four_octet_as,
        };
        tracing::info!(
            neighbor = %self.config.address, asn = agreed.peer_asn, hold_time = agreed.hold_time,
            v4 = updates.v4, v6 = updates.v6, "BGP session established"
        );
        self.shared.change(|peer| {
            peer.established += 1;
            peer.last_error.clear();
        });
        let ends = updates.end_of_rib().map_err(io::Error::other)?;
        self.updates = Some(updates);
        self.tell().await?;
        for end in ends {
            self.write(&encode(&end, self.limit).map_err(io::Error::other)?)
                .await?;
        }
        Ok(())
    }

    /// Brings the router up to date.
    async fn tell(&mut self) -> io::Result<()> {
        let said = self.table.borrow_and_update().clone();
        let Some(updates) = &self.updates else {
            return Ok(());
        };
        let wanted = self.adjacency.wanted(updates, &said.table);
        let messages = updates
            .difference(&self.adjacency.out, &wanted)
            .map_err(io::Error::other)?;
        let count = messages.len() as u64;
        let mut bytes = BytesMut::new();
        for message in messages {
            bytes.extend_from_slice(&encode(&message, self.limit).map_err(io::Error::other)?);
        }
        if !bytes.is_empty() {
            self.write(&bytes.freeze()).await?;
        }
        self.adjacency.out = wanted;
        let announced = self.adjacency.out.len() as u64;
        let refused = self.adjacency.refused.clone();
        self.shared.change(|peer| {
            if peer.refused != refused {
                for refusal in &refused {
                    tracing::warn!(neighbor = peer.name, refusal, "cannot be announced");
                }
            }
            peer.updates += count;
            peer.announced = announced;
            peer.refused = refused;
        });
        self.shared.sent(said.revision);
        Ok(())
    }

    async fn send(&mut self, message: &Message) -> io::Result<()> {
        let bytes = encode_message_with_limit(message, self.limit).map_err(io::Error::other)?;
        self.write(&bytes.freeze()).await
    }

    /// RFC 9687: a router that takes nothing for a hold time is as dead as one that says nothing.
    async fn write(&mut self, bytes: &Bytes) -> io::Result<()> {
        let patience = match self.config.hold_time {
            0 => STUCK,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        timeout(patience, self.stream.write_all(bytes))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the router takes nothing"))?
    }

    async fn farewell(&mut self, how: Option<Close>) -> End {
        if let Some(Close::Cease(reason)) = how {
            // What is still to be withdrawn goes first: it is faster than the session's end.
            if self.updates.is_some() {
                let _ = timeout(FAREWELL, self.tell()).await;
            }
            let reason = Some(encode_shutdown_communication(&reason));
            let _ = self.event(Event::ManualStop { reason }).await;
        }
        End::Closed
    }
}
