//! Writing the exposition, in OpenMetrics text.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::super::labels::{Direction, Health, Label, OriginResult, Outcome};
use super::counters::{Counters, Histograms, Labels};
use super::process::Process;
use super::site::SiteMetrics;
use super::{Handshake, Metrics, OriginHealth};

/// The media type of what [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// The exposition. Series that were never counted are left out where they carry a site or many labels; all others appear at zero, so
    /// that rates have a beginning. It reads /proc and asks the sources: not for the hot path.
    pub fn render(self: &Arc<Self>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(self.clone())));
        let mut out = String::with_capacity(16 * 1024);
        // Writing into a string cannot fail, and nothing here returns an error of its own.
        let _ = encode(&mut out, &registry);
        out
    }
}

#[derive(Debug)]
struct Scrape(Arc<Metrics>);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page { encoder };
        let metrics = &*self.0;
        let sites = metrics.sites.all();
        page.sites(&sites)?;
        page.requests(metrics)?;
        page.connections(metrics)?;
        page.cache(metrics)?;
        page.origins(metrics)?;
        page.node(metrics)?;
        page.process(metrics)
    }
}

/// The exposition being written.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn sites(&mut self, sites: &[Arc<SiteMetrics>]) -> Result<(), Error> {
        let mut family = self.family(
            "anypop_requests",
            "Requests finished",
            None,
            MetricType::Counter,
        )?;
        for site in sites {
            for (labels, count) in site.requests() {
                let mut pairs = vec![("site", site.id())];
                pairs.extend(labels.pairs());
                counter(&mut family, &pairs, &count)?;
            }
        }
        let mut family = self.family(
            "anypop_traffic",
            "Bytes by direction",
            Some(&Unit::Bytes),
            MetricType::Counter,
        )?;
        for site in sites {
            for &direction in Direction::ALL {
                let count = site.byte_count(direction);
                if count > 0 {
                    counter(
                        &mut family,
                        &[("site", site.id()), (Direction::NAME, direction.as_str())],
                        &count,
                    )?;
                }
            }
        }
        let mut family = self.family(
            "anypop_origin_requests",
            "Tries at origins",
            None,
            MetricType::Counter,
        )?;
        for site in sites {
            for &result in OriginResult::ALL {
                let count = site.origin_count(result);
                if count > 0 {
                    counter(
                        &mut family,
                        &[("site", site.id()), (OriginResult::NAME, result.as_str())],
                        &count,
                    )?;
                }
            }
        }
        let mut family = self.family(
            "anypop_origin_retries",
            "Tries at origins after a first one",
            None,
            MetricType::Counter,
        )?;
        for site in sites {
            let count = site.retry_count();
            if count > 0 {
                counter(&mut family, &[("site", site.id())], &count)?;
            }
        }
        Ok(())
    }

    fn requests(&mut self, metrics: &Metrics) -> Result<(), Error> {
        self.gauge(
            "anypop_requests_open",
            "Requests being served",
            None,
            &metrics.requests_open.value(),
        )?;
        self.counters(
            "anypop_refusals",
            "Requests refused before they reached the cache",
            &metrics.refusals,
        )?;
        self.histograms(
            "anypop_request_duration",
            "From a request's first byte to its response's last",
            &metrics.duration,
        )?;
        self.histograms(
            "anypop_request_first_byte",
            "From a request's first byte to its response's first",
            &metrics.first_byte,
        )
    }

    fn connections(&mut self, metrics: &Metrics) -> Result<(), Error> {
        self.gauge(
            "anypop_connections_open",
            "Client connections open",
            None,
            &metrics.connections_open.value(),
        )?;
        let accepted = metrics.connections_accepted.value();
        self.single(
            "anypop_connections_accepted",
            "Client connections accepted",
            None,
            &accepted,
        )?;
        self.counters(
            "anypop_connections_refused",
            "Client connections closed before a request",
            &metrics.connections_refused,
        )?;
        // Most of the combinations cannot occur: only those that did are shown.
        let mut family = self.family(
            "anypop_tls_handshakes",
            "TLS handshakes with clients",
            None,
            MetricType::Counter,
        )?;
        for labels in Handshake::all() {
            let count = metrics.handshakes.value(labels);
            if count > 0 {
                counter(&mut family, &labels.pairs(), &count)?;
            }
        }
        Ok(())
    }

    fn cache(&mut self, metrics: &Metrics) -> Result<(), Error> {
        self.gauge(
            "anypop_fills_open",
            "Fills going on",
            None,
            &metrics.fills_open.value(),
        )?;
        self.counters("anypop_fills", "What became of fills", &metrics.fills)?;
        self.counters(
            "anypop_fill_failures",
            "Why fills failed",
            &metrics.fill_failures,
        )?;
        self.gauge(
            "anypop_waiters",
            "Requests reading another request's fill",
            None,
            &metrics.waiters.value(),
        )?;
        self.single(
            "anypop_collapsed",
            "Requests that read another request's fill",
            None,
            &metrics.collapsed.value(),
        )?;
        self.counters("anypop_purges", "Purges done", &metrics.purges)?;

        let figures = metrics
            .sources
            .read()
            .store
            .as_ref()
            .map(|source| source())
            .unwrap_or_default();
        let mut family = self.family(
            "anypop_store_objects",
            "Objects stored",
            None,
            MetricType::Gauge,
        )?;
        for (tier, figures) in &figures {
            gauge(&mut family, &[("tier", tier)], &figures.objects)?;
        }
        let mut family = self.family(
            "anypop_store_used",
            "Bytes stored",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        for (tier, figures) in &figures {
            gauge(&mut family, &[("tier", tier)], &figures.bytes)?;
        }
        let mut family = self.family(
            "anypop_store_capacity",
            "Bytes that may be stored",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        for (tier, figures) in &figures {
            gauge(&mut family, &[("tier", tier)], &figures.capacity)?;
        }
        let mut family = self.family(
            "anypop_store_evictions",
            "Objects evicted to make room",
            None,
            MetricType::Counter,
        )?;
        for (tier, figures) in &figures {
            counter(&mut family, &[("tier", tier)], &figures.evictions)?;
        }
        Ok(())
    }

    fn origins(&mut self, metrics: &Metrics) -> Result<(), Error> {
        let origins = metrics
            .sources
            .read()
            .origins
            .as_ref()
            .map(|source| source())
            .unwrap_or_default();
        let mut family = self.family(
            "anypop_origins",
            "Origin servers of all sites by health",
            None,
            MetricType::Gauge,
        )?;
        for &state in Health::ALL {
            let count = origins
                .iter()
                .filter(|origin| origin.health == state)
                .count() as u64;
            gauge(&mut family, &state.pairs(), &count)?;
        }
        let mut family = self.family(
            "anypop_origin_up",
            "Health of the origin servers of sites with traffic",
            None,
            MetricType::Gauge,
        )?;
        for OriginHealth {
            site,
            server,
            health,
        } in &origins
        {
            if metrics.sites.contains(site) {
                gauge(
                    &mut family,
                    &[("site", site), ("server", server)],
                    &u64::from(*health == Health::Up),
                )?;
            }
        }
        Ok(())
    }

    fn node(&mut self, metrics: &Metrics) -> Result<(), Error> {
        self.counters(
            "anypop_lost",
            "Log lines and spans that were lost",
            &metrics.lost,
        )?;
        self.single(
            "anypop_spans_sent",
            "Spans delivered to the collector",
            None,
            &metrics.spans_sent.value(),
        )?;
        let generation = metrics.generation.load(Ordering::Relaxed);
        self.gauge(
            "anypop_config_generation",
            "Generation of the configuration in force",
            None,
            &generation,
        )?;
        self.gauge(
            "anypop_config_sites",
            "Sites configured",
            None,
            &metrics.site_count.load(Ordering::Relaxed),
        )?;
        self.counters(
            "anypop_config_reloads",
            "Attempts to load the configuration",
            &metrics.reloads,
        )?;
        let last = *metrics.last_reload.lock();
        if let Some((outcome, at)) = last {
            let ok = u64::from(outcome == Outcome::Ok);
            self.gauge(
                "anypop_config_last_reload_ok",
                "Whether the last attempt to load the configuration succeeded",
                None,
                &ok,
            )?;
            let at = at
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64();
            self.gauge(
                "anypop_config_last_reload_timestamp",
                "When it was attempted",
                Some(&Unit::Seconds),
                &at,
            )?;
        }
        let mut family = self.family("anypop_build", "What runs", None, MetricType::Info)?;
        family.encode_info(&[
            ("version", metrics.build.version),
            ("commit", metrics.build.commit),
        ])
    }

    /// By the names that Prometheus' own client libraries use.
    fn process(&mut self, metrics: &Metrics) -> Result<(), Error> {
        let process = Process::read();
        if let Some(cpu) = process.cpu {
            self.single(
                "process_cpu",
                "CPU time of user and system",
                Some(&Unit::Seconds),
                &cpu,
            )?;
        }
        if let Some(resident) = process.resident {
            self.gauge(
                "process_resident_memory",
                "Resident memory",
                Some(&Unit::Bytes),
                &resident,
            )?;
        }
        if let Some(threads) = process.threads {
            self.gauge("process_threads", "Threads", None, &threads)?;
        }
        if let Some(open) = process.open_fds {
            self.gauge("process_open_fds", "Open descriptors", None, &open)?;
        }
        if let Some(max) = process.max_fds {
            self.gauge("process_max_fds", "Soft limit of descriptors", None, &max)?;
        }
        self.gauge(
            "process_start_time",
            "Start of the process since 1970",
            Some(&Unit::Seconds),
            &metrics.started_seconds(),
        )
    }

    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, Error> {
        self.encoder.encode_descriptor(name, help, unit, kind)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: &impl EncodeGaugeValue,
    ) -> Result<(), Error> {
        self.family(name, help, unit, MetricType::Gauge)?
            .encode_gauge(value)
    }

    fn single(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: &impl EncodeCounterValue,
    ) -> Result<(), Error> {
        self.family(name, help, unit, MetricType::Counter)?
            .encode_counter(value, NO_EXEMPLAR)
    }

    fn counters<L: Labels>(
        &mut self,
        name: &str,
        help: &str,
        counters: &Counters<L>,
    ) -> Result<(), Error> {
        let mut family = self.family(name, help, None, MetricType::Counter)?;
        L::all()
            .try_for_each(|labels| counter(&mut family, &labels.pairs(), &counters.value(labels)))
    }

    fn histograms<L: Labels>(
        &mut self,
        name: &str,
        help: &str,
        histograms: &Histograms<L>,
    ) -> Result<(), Error> {
        let mut family = self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for labels in L::all() {
            let value = histograms.value(labels);
            let pairs = labels.pairs();
            family
                .encode_family(&pairs)?
                .encode_histogram::<NoLabelSet>(value.sum, value.count, &value.buckets, None)?;
        }
        Ok(())
    }
}

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, u64>> = None;

fn counter(
    family: &mut MetricEncoder<'_>,
    pairs: &[(&str, &str)],
    value: &u64,
) -> Result<(), Error> {
    family
        .encode_family(&pairs)?
        .encode_counter(value, NO_EXEMPLAR)
}

fn gauge(family: &mut MetricEncoder<'_>, pairs: &[(&str, &str)], value: &u64) -> Result<(), Error> {
    family.encode_family(&pairs)?.encode_gauge(value)
}
