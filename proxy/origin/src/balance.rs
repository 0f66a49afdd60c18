//! Which server next: pure functions over what may be chosen.

use std::net::IpAddr;

use crate::random;

/// One server that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Its place among the pool's servers.
    pub(crate) index: usize,
    /// Its weight.
    pub(crate) weight: u32,
    /// Exchanges under way with it.
    pub(crate) in_flight: usize,
    /// A hash of its URL, the same on every node.
    pub(crate) hash: u64,
}

/// Smooth weighted round robin: of weights 5, 1, 1 the first comes five times in seven, not five
/// times in a row. `credit` is kept between calls, one place per server of the pool.
pub(crate) fn round_robin(candidates: &[Candidate], credit: &mut [i64]) -> Option<usize> {
    let total: i64 = candidates.iter().map(|c| i64::from(c.weight)).sum();
    let mut best: Option<(usize, i64)> = None;
    for candidate in candidates {
        let credit = credit.get_mut(candidate.index)?;
        *credit += i64::from(candidate.weight);
        if best.is_none_or(|(_, most)| *credit > most) {
            best = Some((candidate.index, *credit));
        }
    }
    let (index, _) = best?;
    *credit.get_mut(index)? -= total;
    Some(index)
}

/// At random by weight. `bits` is a random number.
pub(crate) fn random(candidates: &[Candidate], bits: u64) -> Option<usize> {
    let total: u64 = candidates.iter().map(|c| u64::from(c.weight)).sum();
    if total == 0 {
        let at = bits.checked_rem(candidates.len() as u64)?;
        return candidates.get(usize::try_from(at).ok()?).map(|c| c.index);
    }
    let mut left = bits % total;
    for candidate in candidates {
        match left.checked_sub(u64::from(candidate.weight)) {
            Some(rest) => left = rest,
            None => return Some(candidate.index),
        }
    }
    None
}

/// The fewest exchanges under way per weight; among equals one at random (`bits`), so that an idle
/// pool is used evenly.
pub(crate) fn least_requests(candidates: &[Candidate], bits: u64) -> Option<usize> {
    // a/x < b/y without division; weight 0 counts as a millionth.
    let load = |c: &Candidate| c.in_flight as u128 + 1;
    let weight = |c: &Candidate| (u128::from(c.weight) * 1_000_000).max(1);
    let less = |a: &Candidate, b: &Candidate| (load(a) * weight(b)).cmp(&(load(b) * weight(a)));
    let best = candidates.iter().min_by(|a, b| less(a, b))?;
    let equal: Vec<&Candidate> = candidates
        .iter()
        .filter(|c| less(c, best).is_eq())
        .collect();
    let at = bits.checked_rem(equal.len() as u64)?;
    equal.get(usize::try_from(at).ok()?).map(|c| c.index)
}

/// Weighted rendezvous hashing: every client ranks all servers, and takes the best that may be
/// chosen. When a server goes, only its clients move.
pub(crate) fn client_hash(candidates: &[Candidate], client: IpAddr) -> Option<usize> {
    let client = hash(&match client.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    });
    let score = |c: &Candidate| {
        let unit = random::unit(random::mix(client ^ c.hash)).max(f64::MIN_POSITIVE);
        f64::from(c.weight) / -unit.ln()
    };
    candidates
        .iter()
        .max_by(|a, b| score(a).total_cmp(&score(b)))
        .map(|c| c.index)
}

/// FNV-1a, mixed: must be the same on every node and in every version, which std's is not.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    random::mix(fnv)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn servers(weights: &[u32]) -> Vec<Candidate> {
        weights
            .iter()
            .enumerate()
            .map(|(index, weight)| Candidate {
                index,
                weight: *weight,
                in_flight: 0,
                hash: hash(format!("http://s{index}:80").as_bytes()),
            })
            .collect()
    }

    #[test]
    fn round_robin_is_smooth() {
        let all = servers(&[5, 1, 1]);
        let mut credit = [0; 3];
        let order: Vec<usize> = (0..7)
            .map(|_| round_robin(&all, &mut credit).unwrap())
            .collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(credit, [0; 3]);
        assert_eq!(round_robin(&[], &mut credit), None);
    }

    #[test]
    fn random_follows_the_weights() {
        let all = servers(&[3, 0, 1]);
        let mut count = [0; 3];
        for bits in 0..400 {
            count[random(&all, bits).unwrap()] += 1;
        }
        assert_eq!(count, [300, 0, 100]);
        assert_eq!(random(&servers(&[0, 0]), 3), Some(1));
        assert_eq!(random(&[], 3), None);
    }

    #[test]
    fn least_requests_weighs() {
        let mut all = servers(&[1, 2]);
        all[0].in_flight = 1;
        all[1].in_flight = 2;
        assert_eq!(least_requests(&all, 0), Some(1));
        all[1].in_flight = 4;
        assert_eq!(least_requests(&all, 0), Some(0));
        let even = servers(&[1, 1]);
        assert_eq!(least_requests(&even, 0), Some(0));
        assert_eq!(least_requests(&even, 1), Some(1));
        let spare = servers(&[0, 1]);
        assert_eq!(least_requests(&spare, 0), Some(1));
    }

    #[test]
    fn a_client_keeps_its_server_and_only_a_lost_servers_clients_move() {
        let all = servers(&[1, 1, 2]);
        let without = [all[0], all[2]];
        let mut count = [0; 3];
        for host in 0..4000u32 {
            let client = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + host));
            let first = client_hash(&all, client).unwrap();
            count[first] += 1;
            let then = client_hash(&without, client).unwrap();
            if first != 1 {
                assert_eq!(first, then);
            }
        }
        assert!((900..1100).contains(&count[0]), "{count:?}");
        assert!((900..1100).contains(&count[1]), "{count:?}");
        assert!((1850..2150).contains(&count[2]), "{count:?}");
    }
}
