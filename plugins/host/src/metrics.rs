//! Metrics that guests define. They belong to a site and a plugin's name, outlive instances and reloads, and are
//! bounded in number; a guest's numbers for them mean nothing in another plugin.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::abi::{MetricType, Status};

/// Longest name of a metric, in bytes.
pub const MAX_NAME: usize = 256;

/// Upper bounds of a histogram's buckets; guests mostly record milliseconds or bytes.
pub const BUCKETS: [u64; 15] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 100_000, 1_000_000,
];

/// The metrics of all plugins.
#[derive(Debug, Default)]
pub struct Metrics {
    plugins: Mutex<HashMap<(String, String), Arc<PluginMetrics>>>,
}

/// The metrics of one plugin.
#[derive(Debug, Default)]
pub struct PluginMetrics {
    defined: Mutex<Vec<Arc<Metric>>>,
}

#[derive(Debug)]
struct Metric {
    name: String,
    kind: MetricType,
    /// Counters and gauges: the value (a gauge's bits are an i64's). Histograms: how many values.
    value: AtomicU64,
    sum: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len()],
}

/// One metric's value, for Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Whose plugin it is.
    pub site: String,
    /// The plugin's name.
    pub plugin: String,
    /// The name that the guest gave, any text.
    pub name: String,
    /// What it has counted.
    pub value: SampleValue,
}

/// A metric's value by its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleValue {
    /// Only goes up.
    Counter(u64),
    /// Goes up and down.
    Gauge(i64),
    /// Values by [`BUCKETS`], not cumulative; what is in no bucket is greater than the last bound.
    Histogram {
        /// How many values in each bucket.
        buckets: Vec<u64>,
        /// How many values.
        count: u64,
        /// All values added up.
        sum: u64,
    },
}

impl Metrics {
    /// The metrics of one plugin of one site.
    pub fn plugin(&self, site: &str, plugin: &str) -> Arc<PluginMetrics> {
        self.plugins
            .lock()
            .entry((site.to_owned(), plugin.to_owned()))
            .or_default()
            .clone()
    }

    /// Forgets a site that is gone.
    pub fn forget_site(&self, site: &str) {
        self.plugins.lock().retain(|(owner, _), _| owner != site);
    }

    /// Every metric's value now, sorted by site, plugin and name.
    pub fn samples(&self) -> Vec<Sample> {
        let plugins: Vec<_> = self
            .plugins
            .lock()
            .iter()
            .map(|(key, metrics)| (key.clone(), metrics.clone()))
            .collect();
        let mut samples: Vec<Sample> = plugins
            .into_iter()
            .flat_map(|((site, plugin), metrics)| {
                let defined = metrics.defined.lock().clone();
                defined.into_iter().map(move |metric| Sample {
                    site: site.clone(),
                    plugin: plugin.clone(),
                    name: metric.name.clone(),
                    value: metric.sample(),
                })
            })
            .collect();
        samples.sort_by(|a, b| (&a.site, &a.plugin, &a.name).cmp(&(&b.site, &b.plugin, &b.name)));
        samples
    }
}

impl PluginMetrics {
    /// The number of the metric `name`, made when it is new.
    ///
    /// # Errors
    /// [`Status::BadArgument`] for a bad name or one that exists with another type, [`Status::InternalFailure`]
    /// when the plugin has `most` already.
    pub fn define(&self, kind: MetricType, name: &[u8], most: usize) -> Result<u32, Status> {
        let name = std::str::from_utf8(name).map_err(|_| Status::BadArgument)?;
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Status::BadArgument);
        }
        let mut defined = self.defined.lock();
        let index = match defined.iter().position(|metric| metric.name == name) {
            Some(index) if defined.get(index).is_some_and(|metric| metric.kind == kind) => index,
            Some(_) => return Err(Status::BadArgument),
            None if defined.len() >= most => return Err(Status::InternalFailure),
            None => {
                defined.push(Arc::new(Metric {
                    name: name.to_owned(),
                    kind,
                    value: AtomicU64::new(0),
                    sum: AtomicU64::new(0),
                    buckets: Default::default(),
                }));
                defined.len() - 1
            }
        };
        u32::try_from(index + 1).map_err(|_| Status::InternalFailure)
    }

    /// Sets a gauge or counter, or records a histogram's value.
    ///
    /// # Errors
    /// [`Status::NotFound`] for a number that [`PluginMetrics::define`] did not give.
    pub fn record(&self, id: u32, value: u64) -> Result<(), Status> {
        let metric = self.metric(id)?;
        match metric.kind {
            // A counter that is set anew by a fresh instance must not seem to fall.
            MetricType::Counter => _ = metric.value.fetch_max(value, Ordering::Relaxed),
            MetricType::Gauge => metric.value.store(value, Ordering::Relaxed),
            MetricType::Histogram => metric.observe(value),
        }
        Ok(())
    }

    /// Changes a counter or gauge.
    ///
    /// # Errors
    /// [`Status::BadArgument`] for a counter that would fall and for histograms, [`Status::NotFound`] as above.
    pub fn increment(&self, id: u32, delta: i64) -> Result<(), Status> {
        let metric = self.metric(id)?;
        match metric.kind {
            MetricType::Counter => {
                let delta = u64::try_from(delta).map_err(|_| Status::BadArgument)?;
                metric.value.fetch_add(delta, Ordering::Relaxed);
            }
            MetricType::Gauge => {
                _ = metric
                    .value
                    .fetch_add(delta.cast_unsigned(), Ordering::Relaxed)
            }
            MetricType::Histogram => return Err(Status::BadArgument),
        }
        Ok(())
    }

    /// A counter's or gauge's value.
    ///
    /// # Errors
    /// [`Status::BadArgument`] for histograms, [`Status::NotFound`] as above.
    pub fn value(&self, id: u32) -> Result<u64, Status> {
        let metric = self.metric(id)?;
        if metric.kind == MetricType::Histogram {
            return Err(Status::BadArgument);
        }
        Ok(metric.value.load(Ordering::Relaxed))
    }

    fn metric(&self, id: u32) -> Result<Arc<Metric>, Status> {
        let index = usize::try_from(id)
            .ok()
            .and_then(|id| id.checked_sub(1))
            .ok_or(Status::NotFound)?;
        self.defined
            .lock()
            .get(index)
            .cloned()
            .ok_or(Status::NotFound)
    }
}

impl Metric {
    fn observe(&self, value: u64) {
        if let Some(bucket) = BUCKETS
            .iter()
            .position(|bound| value <= *bound)
            .and_then(|index| self.buckets.get(index))
        {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.value.fetch_add(1, Ordering::Relaxed);
    }

    fn sample(&self) -> SampleValue {
        let value = self.value.load(Ordering::Relaxed);
        match self.kind {
            MetricType::Counter => SampleValue::Counter(value),
            MetricType::Gauge => SampleValue::Gauge(value.cast_signed()),
            MetricType::Histogram => SampleValue::Histogram {
                buckets: self
                    .buckets
                    .iter()
                    .map(|bucket| bucket.load(Ordering::Relaxed))
                    .collect(),
                count: value,
                sum: self.sum.load(Ordering::Relaxed),
            },
        }
    }
}
