//! What a neighbour knows of us, and what we know of it.

use std::collections::{BTreeMap, HashSet};

use ipnet::IpNet;
use rustbgpd_wire::{
    DecodeError, NotificationCode, NotificationMessage, PathAttribute, Prefix, UpdateMessage,
    notification::cease_subcode, validate::validate_update_attributes,
};

use super::{
    super::Table,
    codec::{Outbound, Updates},
};

/// Adj-RIB-Out: what has been announced to the neighbour.
#[derive(Debug, Default)]
pub(super) struct Adjacency {
    pub(super) out: BTreeMap<IpNet, Outbound>,
    /// Prefixes that it cannot be told about, and why.
    pub(super) refused: Vec<String>,
}

impl Adjacency {
    /// What the table means for this session.
    pub(super) fn wanted(&mut self, updates: &Updates, table: &Table) -> BTreeMap<IpNet, Outbound> {
        self.refused.clear();
        let mut wanted = BTreeMap::new();
        for (prefix, route) in table {
            match updates.outbound(prefix, route) {
                Ok(out) => {
                    wanted.insert(*prefix, out);
                }
                Err(reason) => self.refused.push(format!("{prefix}: {reason}")),
            }
        }
        wanted
    }
}

/// What the neighbour announces: counted, limited, and ignored.
#[derive(Debug)]
pub(super) struct Inbound {
    prefixes: HashSet<Prefix>,
    most: usize,
    pub(super) malformed: u64,
}

/// Why a session must end over an UPDATE.
#[derive(Debug)]
pub(super) enum Offence {
    /// It cannot be read.
    Unreadable(DecodeError),
    /// It is one too many.
    TooMany(NotificationMessage),
}

impl Inbound {
    pub(super) fn new(most: usize) -> Self {
        Self {
            prefixes: HashSet::new(),
            most,
            malformed: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Takes an UPDATE in, with the error handling of RFC 7606.
    pub(super) fn take(
        &mut self,
        update: &UpdateMessage,
        four_octets: bool,
        external: bool,
    ) -> Result<(), Offence> {
        let parsed = update
            .parse_revised(four_octets, !external, false, &[])
            .map_err(Offence::Unreadable)?;
        let mut announced: Vec<Prefix> = Vec::new();
        let body = !parsed.update.announced.is_empty();
        announced.extend(parsed.update.announced.iter().map(|e| Prefix::V4(e.prefix)));
        for entry in &parsed.update.withdrawn {
            self.prefixes.remove(&Prefix::V4(entry.prefix));
        }
        for attribute in &parsed.update.attributes {
            match attribute {
                PathAttribute::MpReachNlri(reach) => {
                    announced.extend(reach.announced.iter().map(|entry| entry.prefix));
                }
                PathAttribute::MpUnreachNlri(unreach) => {
                    for entry in &unreach.withdrawn {
                        self.prefixes.remove(&entry.prefix);
                    }
                }
                _ => {}
            }
        }
        let sound = parsed.malformed.is_empty()
            && validate_update_attributes(
                &parsed.update.attributes,
                !announced.is_empty(),
                body,
                external,
            )
            .is_ok();
        if !sound {
            self.malformed += 1;
        }
        for prefix in announced {
            if !sound {
                self.prefixes.remove(&prefix);
                continue;
            }
            if self.prefixes.len() >= self.most && !self.prefixes.contains(&prefix) {
                return Err(Offence::TooMany(NotificationMessage::new(
                    NotificationCode::Cease,
                    cease_subcode::MAX_PREFIXES,
                    bytes::Bytes::new(),
                )));
            }
            self.prefixes.insert(prefix);
        }
        Ok(())
    }
}
