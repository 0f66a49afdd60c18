//! The agent: one loop that takes events in, asks the policy, and does what it says.
//!
//! Everything runs on one thread, the BGP sessions included. Were this loop to freeze, keepalives
//! would stop with it, and routers would drop the routes: no part can stay alive for another.

mod plan;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use crate::{
    address::Addresses,
    ask::ask,
    control::{Answer, Command, Control, DrainRequest, serve_metrics},
    document::{Document, Loaded, OnExit},
    fleet::Fleet,
    hooks::{Hooks, Transition},
    notify::Notify,
    policy::{Action, Event, Level, Moment, Policy, Source, Step},
    probe::{HttpProbe, NodeProbe, watch},
    speaker::{Close, Speaker, Table},
    status::{Counters, Status},
    stream::follow,
};

/// Events that wait; more stall who sends them.
const EVENTS: usize = 256;
/// How often the drain file is looked for.
const DRAIN_FILE: Duration = Duration::from_millis(250);
/// How long the last withdrawal may take to get out.
const FLUSH: Duration = Duration::from_secs(3);

/// Runs the agent until it is told to end.
///
/// # Errors
/// When it cannot start: a socket is taken, a file is gone.
pub async fn run(loaded: Loaded, dry_run: bool) -> Result<(), String> {
    let document = Arc::new(loaded.document);
    let control = optional(
        dry_run,
        Control::bind(&document.control.socket)
            .map_err(|error| format!("{}: {error}", document.control.socket.display())),
    )?;
    let metrics = match document.metrics.address {
        Some(address) => optional(
            dry_run,
            TcpListener::bind(address)
                .await
                .map_err(|error| format!("{address}: {error}")),
        )?,
        None => None,
    };
    let addresses = Addresses::open(plan::places(&document, dry_run))
        .map_err(|error| format!("netlink: {error}"))?;
    let (sender, events) = mpsc::channel(EVENTS);
    let (commander, commands) = mpsc::channel(EVENTS);
    let changes = watch::Sender::new(0);

    let mut tasks = JoinSet::new();
    if let Some(control) = control {
        tasks.spawn(control.serve(commander.clone(), changes.subscribe()));
    }
    if let Some(listener) = metrics {
        tasks.spawn(serve_metrics(listener, commander, changes.subscribe()));
    }
    start_probes(&document, &sender, &mut tasks)?;
    tasks.spawn(follow(document.proxy.status_socket.clone(), sender.clone()));
    let keeper = addresses.clone();
    tasks.spawn(async move {
        if let Err(error) = keeper.keep(sender).await {
            tracing::error!(%error, "addresses are not watched any more");
        }
    });

    let hooks = if dry_run {
        Hooks::start(Vec::new(), Duration::ZERO)
    } else {
        Hooks::start(
            document.hooks.on_transition.clone(),
            document.hooks.timeout.0,
        )
    };
    let mut agent = Agent {
        policy: Policy::new(plan::settings(&document)),
        speaker: plan::speaker(&document, dry_run)?,
        fleet: plan::fleet(&document),
        hooks,
        notify: Notify::from_environment(),
        started: Instant::now(),
        table: Arc::new(Table::new()),
        counters: Counters::default(),
        changes,
        asks: JoinSet::new(),
        exit: None,
        refused: None,
        document,
        dry_run,
    };
    agent.speaker.say(agent.table.clone());
    agent.notify.say("READY=1\nSTATUS=waiting for the proxy");
    tracing::info!(
        dry_run,
        version = env!("CARGO_PKG_VERSION"),
        "the agent runs"
    );
    agent.live(events, commands).await?;
    // No probe may add an address, and no new command come in, while it ends.
    tasks.shutdown().await;
    agent.end(&addresses).await;
    Ok(())
}

/// A dry run beside a running agent does without what that one holds.
fn optional<T>(dry_run: bool, bound: Result<T, String>) -> Result<Option<T>, String> {
    match bound {
        Ok(bound) => Ok(Some(bound)),
        Err(error) if dry_run => {
            tracing::warn!(error, "the dry run does without");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn start_probes(
    document: &Document,
    events: &mpsc::Sender<Event>,
    tasks: &mut JoinSet<()>,
) -> Result<(), String> {
    for (vip, of) in document.vip.iter().enumerate() {
        for (check, probe) in of.check.iter().enumerate() {
            let http = HttpProbe::new(probe).map_err(|error| format!("{}: {error}", probe.url))?;
            let run = move || {
                let http = http.clone();
                async move { http.run().await }
            };
            let event = move |result| Event::Probed { vip, check, result };
            let (every, patience) = (probe.interval.0, probe.timeout.0);
            tasks.spawn(watch(every, patience, run, event, events.clone()));
        }
    }
    let probes = document.check.iter().filter_map(|check| {
        let probe = NodeProbe::new(check)?;
        Some((probe, check.interval.0, check.timeout.0))
    });
    for (check, (probe, every, patience)) in probes.enumerate() {
        let run = move || {
            let probe = probe.clone();
            async move { probe.run().await }
        };
        let event = move |result| Event::Checked { check, result };
        tasks.spawn(watch(every, patience, run, event, events.clone()));
    }
    Ok(())
}

/// Why and how the agent ends.
#[derive(Clone, Debug)]
struct Exit {
    reason: String,
    keep: bool,
}

struct Agent {
    document: Arc<Document>,
    policy: Policy,
    speaker: Box<dyn Speaker>,
    fleet: Arc<dyn Fleet>,
    hooks: Hooks,
    notify: Notify,
    started: Instant,
    table: Arc<Table>,
    counters: Counters,
    changes: watch::Sender<u64>,
    asks: JoinSet<()>,
    exit: Option<Exit>,
    /// Why the drain file is not obeyed, as last logged.
    refused: Option<String>,
    dry_run: bool,
}

impl Agent {
    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    async fn live(
        &mut self,
        mut events: mpsc::Receiver<Event>,
        mut commands: mpsc::Receiver<Command>,
    ) -> Result<(), String> {
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        let mut file = interval(DRAIN_FILE);
        file.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut dog = interval(Notify::watchdog().unwrap_or(Duration::from_secs(3600)));
        dog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.policy.next_deadline(self.now());
            let tick = sleep_until(self.started + due.unwrap_or(Duration::from_secs(3600)));
            let over = tokio::select! {
                biased;
                () = tick => self.handle(Event::Tick),
                Some(event) = events.recv() => {
                    if matches!(event, Event::Line(_)) {
                        self.counters.lines += 1;
                    }
                    self.handle(event)
                }
                Some(command) = commands.recv() => self.command(command),
                _ = terminate.recv() => self.terminate("SIGTERM"),
                _ = interrupt.recv() => self.leave("SIGINT"),
                _ = file.tick() => self.drain_file(),
                _ = dog.tick() => {
                    self.notify.say("WATCHDOG=1");
                    false
                }
            };
            if over {
                return Ok(());
            }
        }
    }

    /// Has the policy decide and does what it says; true when the agent may end.
    fn handle(&mut self, event: Event) -> bool {
        let now = self.now();
        let before: Vec<_> = self.states();
        let actions = self.policy.handle(now, event);
        if actions.is_empty() {
            return false;
        }
        let mut table = Table::clone(&self.table);
        let mut reasons = vec![String::new(); before.len()];
        let mut over = false;
        let mut routes = false;
        for action in actions {
            match action {
                Action::Announce { vip, level, reason } => {
                    routes = true;
                    self.enter(&mut table, vip, Some(level));
                    remember(&mut reasons, vip, reason);
                }
                Action::Withdraw { vip, reason } => {
                    routes = true;
                    self.counters.withdrawals += 1;
                    self.enter(&mut table, vip, None);
                    remember(&mut reasons, vip, reason);
                }
                Action::AskProxy(asked) => self.ask(asked),
                Action::Stepped {
                    from,
                    to,
                    reason,
                    connections,
                } => {
                    if to == Step::Shifting {
                        self.counters.cut += connections;
                    }
                    tracing::info!(%from, %to, reason, connections, "drain");
                    self.notify.say(&format!("STATUS=drain: {to} ({reason})"));
                }
                Action::Held { vip, reason } => {
                    self.counters.held += 1;
                    let prefix = self.prefix(vip);
                    tracing::error!(prefix, reason, "the guard holds a withdrawal back");
                }
                Action::MayExit => over = true,
            }
        }
        if routes {
            self.table = Arc::new(table);
            self.speaker.say(self.table.clone());
        }
        self.tell_transitions(&before, reasons);
        self.changes.send_modify(|change| *change += 1);
        over
    }

    fn states(&self) -> Vec<&'static str> {
        (0..self.document.vip.len())
            .map(|vip| self.policy.vip_state(vip))
            .collect()
    }

    fn prefix(&self, vip: usize) -> String {
        self.document
            .vip
            .get(vip)
            .map_or_else(String::new, |vip| vip.prefix.to_string())
    }

    fn enter(&self, table: &mut Table, vip: usize, level: Option<Level>) {
        let Some(prefix) = self.document.vip.get(vip).map(|vip| vip.prefix) else {
            return;
        };
        match level.and_then(|level| plan::route(&self.document, vip, level)) {
            Some(route) => table.insert(prefix, route),
            None => table.remove(&prefix),
        };
    }

    fn tell_transitions(&mut self, before: &[&'static str], reasons: Vec<String>) {
        let after = self.states();
        for (vip, ((from, to), reason)) in before.iter().zip(after).zip(reasons).enumerate() {
            if *from == to {
                continue;
            }
            self.counters.transitions += 1;
            let prefix = self.prefix(vip);
            tracing::info!(prefix, from, to, reason, "transition");
            self.notify.say(&format!("STATUS={prefix} {to}"));
            self.hooks.tell(Transition {
                prefix,
                from,
                to,
                reason,
            });
        }
    }

    fn ask(&mut self, asked: crate::policy::Ask) {
        while self.asks.try_join_next().is_some() {}
        let Some(socket) = self.document.proxy.admin_socket.clone() else {
            return;
        };
        if self.dry_run {
            tracing::info!(?asked, "would ask the proxy");
            return;
        }
        self.asks.spawn(async move {
            match ask(&socket, asked).await {
                Ok(()) => tracing::info!(?asked, "asked the proxy"),
                Err(error) => tracing::error!(?asked, error, "the proxy does not do as asked"),
            }
        });
    }

    fn command(&mut self, command: Command) -> bool {
        // Who asked may have gone; that changes nothing.
        match command {
            Command::Status(answer) => {
                let _ = answer.send(self.status());
                false
            }
            Command::Drain(request, answer) => self.drain(request, answer),
            Command::Undrain(answer) => {
                let over = self.handle(Event::Undrain(Source::Operator));
                let snapshot = self.policy.snapshot(self.now());
                let _ = answer.send(if snapshot.drain.sources.is_empty() {
                    Ok(Answer {
                        message: "undrained".to_owned(),
                        overridden: None,
                    })
                } else {
                    Err(format!(
                        "still drained: {} ({})",
                        snapshot.drain.sources.join(", "),
                        snapshot.drain.reason
                    ))
                });
                over
            }
        }
    }

    fn drain(
        &mut self,
        request: DrainRequest,
        answer: oneshot::Sender<Result<Answer, String>>,
    ) -> bool {
        let overridden = match self.fleet.permits(SystemTime::now()) {
            Ok(()) => None,
            Err(refusal) if request.force => {
                tracing::warn!(refusal, "drained by force");
                Some(refusal)
            }
            Err(refusal) => {
                let _ = answer.send(Err(format!("{refusal}; --force drains all the same")));
                return false;
            }
        };
        let reason = if request.reason.is_empty() {
            "an operator asked for it".to_owned()
        } else {
            request.reason
        };
        let source = Source::Operator;
        let over = self.handle(Event::Drain { source, reason });
        let _ = answer.send(Ok(Answer {
            message: format!("draining: {}", self.policy.step()),
            overridden,
        }));
        over
    }

    fn drain_file(&mut self) -> bool {
        let Some(path) = self.document.agent.drain_file.clone() else {
            return false;
        };
        let wanted = self
            .policy
            .snapshot(self.now())
            .drain
            .sources
            .iter()
            .any(|source| source == "file");
        match (path.exists(), wanted) {
            (true, false) => match self.fleet.permits(SystemTime::now()) {
                Ok(()) => {
                    self.refused = None;
                    self.handle(Event::Drain {
                        source: Source::File,
                        reason: drain_reason(&path),
                    })
                }
                Err(refusal) => {
                    if self.refused.as_ref() != Some(&refusal) {
                        tracing::error!(refusal, "the drain file is not obeyed");
                        self.refused = Some(refusal);
                    }
                    false
                }
            },
            (false, true) => self.handle(Event::Undrain(Source::File)),
            _ => false,
        }
    }

    /// The first SIGTERM does as `on_exit` says, the second leaves at once.
    fn terminate(&mut self, reason: &str) -> bool {
        self.notify.say("STOPPING=1");
        if self.exit.is_some() {
            return self.leave("a second signal");
        }
        let keep = self.document.agent.on_exit == OnExit::Keep;
        self.exit = Some(Exit {
            reason: reason.to_owned(),
            keep,
        });
        tracing::info!(reason, on_exit = ?self.document.agent.on_exit, "the agent ends");
        match self.document.agent.on_exit {
            OnExit::Keep => true,
            OnExit::Withdraw => self.handle(Event::Leave(reason.to_owned())),
            OnExit::Drain => self.handle(Event::Drain {
                source: Source::Exit,
                reason: reason.to_owned(),
            }),
        }
    }

    fn leave(&mut self, reason: &str) -> bool {
        self.notify.say("STOPPING=1");
        self.exit = Some(Exit {
            reason: reason.to_owned(),
            keep: false,
        });
        // It may have nothing left to do, and then says nothing.
        self.handle(Event::Leave(reason.to_owned()));
        true
    }

    /// The withdrawal first, then the session, and the addresses last.
    async fn end(&mut self, addresses: &Addresses) {
        let exit = self.exit.clone().unwrap_or(Exit {
            reason: "the agent ends".to_owned(),
            keep: false,
        });
        if exit.keep {
            self.speaker.close(Close::Silent).await;
            tracing::info!("ended; the routes are kept");
            return;
        }
        if timeout(FLUSH, self.speaker.flushed()).await.is_err() {
            tracing::error!("the withdrawal did not get out in time");
        }
        self.speaker.close(Close::Cease(exit.reason)).await;
        addresses.remove().await;
        tracing::info!("ended");
    }

    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.now().as_secs_f64(),
            dry_run: self.dry_run,
            policy: self.policy.snapshot(self.now()),
            peers: self.speaker.peers(),
            counters: Counters {
                hook_failures: self.hooks.failures(),
                ..self.counters.clone()
            },
        }
    }
}

fn remember(reasons: &mut [String], vip: usize, reason: String) {
    if let Some(slot) = reasons.get_mut(vip) {
        *slot = reason;
    }
}

/// The file's first line, if it says anything.
fn drain_reason(path: &PathBuf) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        format!("{} exists", path.display())
    } else {
        line.chars().take(200).collect()
    }
}
