//! The VIPs' addresses on the machine's interfaces: put there where the agent manages them, and
//! watched in any case.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::address::AddressAttribute;
use rtnetlink::{Handle, MulticastGroup, new_connection, new_multicast_connection};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use crate::policy::Event;

/// Addresses are looked up so often even if the kernel reports no change.
const BEAT: Duration = Duration::from_secs(1);

/// A VIP's addresses.
#[derive(Clone, Debug)]
pub struct Place {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The interface, where the agent puts them itself.
    pub managed: Option<String>,
}

/// The machine's addresses, by netlink.
#[derive(Clone, Debug)]
pub struct Addresses {
    handle: Handle,
    places: Arc<[Place]>,
}

impl Addresses {
    /// Opens netlink for the VIPs' places, in their order. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(places: Vec<Place>) -> io::Result<Self> {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        Ok(Self {
            handle,
            places: places.into(),
        })
    }

    /// Keeps the managed addresses in place and tells which VIPs have all of theirs, at every change.
    ///
    /// # Errors
    /// When the kernel's reports cannot be listened to.
    pub async fn keep(self, events: mpsc::Sender<Event>) -> io::Result<()> {
        let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _handle, mut reports) = new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: Vec<Option<bool>> = vec![None; self.places.len()];
        let mut complaint = String::new();
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                report = reports.next() => if report.is_none() {
                    return Err(io::Error::other("netlink is closed"));
                },
            }
            match self.restore().await {
                Ok(()) => complaint.clear(),
                Err(error) if error != complaint => {
                    tracing::error!(error, "a VIP's address cannot be added");
                    complaint = error;
                }
                Err(_) => {}
            }
            let present = match self.present().await {
                Ok(present) => present,
                Err(error) => {
                    tracing::error!(error, "the machine's addresses cannot be read");
                    BTreeSet::new()
                }
            };
            for (vip, (place, told)) in self.places.iter().zip(&mut told).enumerate() {
                let all = place.addresses.iter().all(|a| present.contains(a));
                if *told != Some(all) {
                    *told = Some(all);
                    let event = Event::Address { vip, present: all };
                    if events.send(event).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes the managed addresses off. To be called only when the withdrawal is out.
    pub async fn remove(&self) {
        let managed: BTreeSet<IpAddr> = self
            .places
            .iter()
            .filter(|place| place.managed.is_some())
            .flat_map(|place| place.addresses.iter().copied())
            .collect();
        let all = self.handle.address().get().execute();
        let all: Vec<_> = match all.try_collect().await {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, "the machine's addresses cannot be read");
                return;
            }
        };
        for message in all {
            if address(&message).is_some_and(|address| managed.contains(&address))
                && let Err(error) = self.handle.address().del(message).execute().await
            {
                tracing::warn!(%error, "a VIP's address cannot be removed");
            }
        }
    }

    /// Adds managed addresses that are missing.
    async fn restore(&self) -> Result<(), String> {
        let mut managed: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
        for place in self.places.iter() {
            if let Some(interface) = &place.managed {
                managed
                    .entry(interface)
                    .or_default()
                    .extend(&place.addresses);
            }
        }
        if managed.is_empty() {
            return Ok(());
        }
        let present = self.present().await?;
        for (interface, addresses) in managed {
            let missing: Vec<_> = addresses.iter().filter(|a| !present.contains(a)).collect();
            if missing.is_empty() {
                continue;
            }
            let mut links = self
                .handle
                .link()
                .get()
                .match_name(interface.to_owned())
                .execute();
            let link = links
                .try_next()
                .await
                .map_err(|error| format!("{interface}: {error}"))?
                .ok_or_else(|| format!("there is no interface {interface}"))?;
            for address in missing {
                let length = if address.is_ipv4() { 32 } else { 128 };
                let added = self
                    .handle
                    .address()
                    .add(link.header.index, *address, length)
                    .execute()
                    .await;
                match added {
                    Ok(()) => tracing::info!(%address, interface, "address added"),
                    Err(error) if exists(&error) => {}
                    Err(error) => {
                        return Err(format!(
                            "{address} on {interface}: {error} (adding one needs CAP_NET_ADMIN)"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    async fn present(&self) -> Result<BTreeSet<IpAddr>, String> {
        let messages = self.handle.address().get().execute();
        messages
            .try_filter_map(|message| std::future::ready(Ok(address(&message))))
            .try_collect()
            .await
            .map_err(|error| error.to_string())
    }
}

/// The address of an entry: the local one where it differs from the peer's.
fn address(message: &netlink_packet_route::address::AddressMessage) -> Option<IpAddr> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => return Some(*address),
            AddressAttribute::Address(address) => found = Some(*address),
            _ => {}
        }
    }
    found
}

/// Somebody was faster, which is as good.
fn exists(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.to_io().kind() == io::ErrorKind::AlreadyExists)
}
