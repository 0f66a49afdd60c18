//! Percentiles of what was timed.

use std::time::Duration;

/// All latencies of a run: a few million at most, so they are simply kept.
#[derive(Debug, Default)]
pub struct Latencies {
    nanoseconds: Vec<u64>,
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        self.nanoseconds
            .push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nanoseconds.len()
    }

    /// A JSON object with percentiles in microseconds.
    #[must_use]
    pub fn json(mut self) -> String {
        self.nanoseconds.sort_unstable();
        let points = [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p999", 0.999),
            ("max", 1.0),
        ];
        let fields: Vec<String> = points
            .iter()
            .map(|(name, share)| format!("\"{name}_us\":{:.1}", self.percentile(*share)))
            .collect();
        format!("{{{}}}", fields.join(","))
    }

    /// The nearest-rank percentile of sorted latencies, in microseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are far below 2^52 and shares lie between 0 and 1"
    )]
    fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.nanoseconds.len() as f64).ceil() as usize;
        self.nanoseconds
            .get(rank.saturating_sub(1))
            .map_or(0.0, |&ns| ns as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut latencies = Latencies::default();
        for us in (1..=1000).rev() {
            latencies.record(Duration::from_micros(us));
        }
        assert_eq!(latencies.count(), 1000);
        assert_eq!(
            latencies.json(),
            r#"{"p50_us":500.0,"p90_us":900.0,"p99_us":990.0,"p999_us":999.0,"max_us":1000.0}"#
        );
        assert!(Latencies::default().json().contains("\"p50_us\":0.0"));
    }
}
