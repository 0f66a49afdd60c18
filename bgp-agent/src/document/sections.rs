//! Every key, with its question and its default.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{Community, Free, LargeCommunity, NextHop, Span};

/// The agent's document.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Who the agent is.
    pub agent: Agent,
    /// How it hears of the proxy.
    #[serde(default)]
    pub proxy: Proxy,
    /// To whom it speaks, with the native speaker.
    #[serde(default)]
    pub neighbor: Vec<Neighbor>,
    /// What it announces.
    #[serde(default)]
    pub vip: Vec<Vip>,
    /// What else must hold on this node.
    #[serde(default)]
    pub check: Vec<NodeCheck>,
    /// How it drains.
    #[serde(default)]
    pub drain: Drain,
    /// How long a VIP that fails again and again stays away.
    #[serde(default)]
    pub hold_down: HoldDown,
    /// What it may not do however bad things look.
    #[serde(default)]
    pub guard: Guard,
    /// How it is controlled.
    #[serde(default)]
    pub control: Control,
    /// Where metrics are read by TCP. The control socket serves them anyway.
    #[serde(default)]
    pub metrics: Metrics,
    /// What is run at transitions.
    #[serde(default)]
    pub hooks: Hooks,
    /// What it logs, to standard error.
    #[serde(default)]
    pub log: Log,
    /// Where BIRD is, with `speaker = "bird"`.
    pub bird: Option<Bird>,
    /// How ExaBGP is reached, with `speaker = "exabgp"`.
    pub exabgp: Option<Exabgp>,
}

/// Who the agent is.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// What is this PoP called in the file of PoPs?
    #[serde(default)]
    pub pop: String,
    /// Which AS does it speak for?
    pub asn: u32,
    /// Which BGP identifier does it have (RFC 6286: any but 0.0.0.0, unique within the AS)?
    pub router_id: Ipv4Addr,
    /// Who speaks BGP?
    #[serde(default)]
    pub speaker: SpeakerKind,
    /// What happens to the routes when the agent is told to end?
    #[serde(default)]
    pub on_exit: OnExit,
    /// Which file drains the node while it exists?
    pub drain_file: Option<PathBuf>,
}

/// Who speaks BGP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpeakerKind {
    /// The agent itself.
    #[default]
    Native,
    /// BIRD, through its control socket.
    Bird,
    /// ExaBGP, through its process API.
    Exabgp,
}

/// What happens to the routes when the agent ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnExit {
    /// They are drained first.
    #[default]
    Drain,
    /// They are withdrawn at once.
    Withdraw,
    /// They stay. With the native speaker this wants `graceful_restart`.
    Keep,
}

/// How the agent hears of the proxy.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// Where is its status stream?
    pub status_socket: PathBuf,
    /// Where is it asked to bleed, to quiesce and to resume? Without, a drain waits for connections
    /// but asks nobody to end them.
    pub admin_socket: Option<PathBuf>,
    /// How many lines in a row must say that it serves?
    pub rise: u32,
    /// How many lines in a row must say that it fails?
    pub fall: u32,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            status_socket: "/run/anypop/status.sock".into(),
            admin_socket: None,
            rise: 1,
            fall: 3,
        }
    }
}

/// A router that the agent connects to.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Neighbor {
    /// Where is it?
    pub address: IpAddr,
    /// Which AS is it in? The agent's own: iBGP.
    pub asn: u32,
    /// On which port?
    #[serde(default = "port")]
    pub port: u16,
    /// Which file holds the TCP-MD5 password (RFC 2385), at most 80 bytes?
    pub password_file: Option<PathBuf>,
    /// Are packets sent with TTL 255, and only such accepted (RFC 5082)? Both sides must say so.
    #[serde(default)]
    pub ttl_security: bool,
    /// With which TTL are packets sent? Without: 1 to another AS, else what the system says.
    pub ttl: Option<u8>,
    /// From which address?
    pub source_address: Option<IpAddr>,
    /// After which silence is the session dead (RFC 4271 §4.2)? `0s`: never; else 3 s at least.
    #[serde(default = "hold_time")]
    pub hold_time: Span,
    /// How long after a failure is it tried again? At most 5 s.
    #[serde(default = "connect_retry")]
    pub connect_retry: Span,
    /// How long may sent data stay unacknowledged? Without: the hold time.
    pub user_timeout: Option<Span>,
    /// For how long may the router keep the routes when the agent is gone without a word (RFC 4724)?
    /// `0s`: not at all, and a dead agent's routes are gone at once.
    #[serde(default = "zero")]
    pub graceful_restart: Span,
    /// How many prefixes may the router send? They are counted and ignored; more end the session.
    #[serde(default = "max_received")]
    pub max_received: u32,
}

fn port() -> u16 {
    179
}
fn hold_time() -> Span {
    Span::secs(9)
}
fn connect_retry() -> Span {
    Span::secs(1)
}
fn zero() -> Span {
    Span::secs(0)
}
fn max_received() -> u32 {
    50
}

/// A VIP.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vip {
    /// Which prefix is announced?
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// Which addresses of it does this node serve? Without, and where the prefix is one address: that.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Which next hop is announced: `self`, or an address?
    #[serde(default)]
    pub next_hop: NextHop,
    /// With which communities (RFC 1997)?
    #[serde(default)]
    pub communities: Vec<Community>,
    /// With which large communities (RFC 8092)?
    #[serde(default)]
    pub large_communities: Vec<LargeCommunity>,
    /// How many times more is the AS in the path?
    #[serde(default)]
    pub prepend: u8,
    /// With which MED? None unless said: it breaks ECMP between PoPs that differ.
    pub med: Option<u32>,
    /// With which local preference, in iBGP? Without: 100.
    pub local_pref: Option<u32>,
    /// What is added while the node is degraded?
    #[serde(default)]
    pub degraded: Degraded,
    /// Does the agent put the addresses on the interface and take them off? Wants `CAP_NET_ADMIN`.
    #[serde(default)]
    pub manage_address: bool,
    /// On which interface?
    #[serde(default = "interface")]
    pub interface: String,
    /// How is its data path probed?
    #[serde(default)]
    pub check: Vec<Probe>,
}

fn interface() -> String {
    "lo".to_owned()
}

/// What is added to a route while the node is degraded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Degraded {
    /// Which communities?
    pub communities: Vec<Community>,
    /// Which large communities?
    pub large_communities: Vec<LargeCommunity>,
    /// How many prepends?
    pub prepend: u8,
}

/// A probe of a VIP's data path by HTTP or HTTPS.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What is fetched? The host is an address of the VIP: names would make DNS, which is shared, a
    /// reason to withdraw.
    #[schemars(with = "String")]
    pub url: url::Url,
    /// Which name is sent as Host and in TLS? Without: the address.
    pub host: Option<String>,
    /// Which status codes are good?
    #[serde(default = "status")]
    pub status: Vec<u16>,
    /// What must the body's first 64 KiB contain?
    pub body: Option<String>,
    /// With which certificates, in PEM, is the server's verified?
    pub ca_file: Option<PathBuf>,
    /// Is the certificate verified? Without a `ca_file` it cannot be.
    pub verify: Option<bool>,
    /// How often?
    #[serde(default = "probe_interval")]
    pub interval: Span,
    /// How long may it take, in all?
    #[serde(default = "probe_timeout")]
    pub timeout: Span,
    /// How many successes in a row bring it up?
    #[serde(default = "rise")]
    pub rise: u32,
    /// How many failures in a row bring it down?
    #[serde(default = "fall")]
    pub fall: u32,
}

fn status() -> Vec<u16> {
    vec![200]
}
fn probe_interval() -> Span {
    Span::millis(500)
}
fn probe_timeout() -> Span {
    Span::secs(1)
}
fn rise() -> u32 {
    2
}
fn fall() -> u32 {
    3
}

/// A check of the node. Exactly one of `disk`, `load` and `command` is given.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeCheck {
    /// Does it look at this node only, or at something that PoPs share? What is shared never withdraws.
    #[serde(default)]
    pub scope: Scope,
    /// In which folder must there be space?
    pub disk: Option<PathBuf>,
    /// How much of it?
    pub min_free: Option<Free>,
    /// How high may the load average of one minute be?
    pub load: Option<f64>,
    /// Which command must end with 0? No shell is involved.
    pub command: Option<Vec<String>>,
    /// How often?
    #[serde(default = "check_interval")]
    pub interval: Span,
    /// How long may it take?
    #[serde(default = "check_timeout")]
    pub timeout: Span,
    /// How many successes in a row bring it up?
    #[serde(default = "rise")]
    pub rise: u32,
    /// How many failures in a row bring it down?
    #[serde(default = "fall")]
    pub fall: u32,
}

fn check_interval() -> Span {
    Span::secs(5)
}
fn check_timeout() -> Span {
    Span::secs(2)
}

/// What a check of the node looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This node: its failure withdraws.
    #[default]
    Local,
    /// What PoPs share: its failure degrades.
    Shared,
}

/// How a drain goes.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long may connections from before the drain take?
    pub deadline: Span,
    /// How many open connections count as none?
    pub connections: u64,
    /// How long are new connections dropped in silence before the route shifts?
    pub quiesce: Span,
    /// How long does the route stand with `GRACEFUL_SHUTDOWN` before it is withdrawn?
    pub lead: Span,
    /// How many prepends are added then?
    pub prepend: u8,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            deadline: Span::secs(60),
            connections: 0,
            quiesce: Span::secs(1),
            lead: Span::secs(2),
            prepend: 0,
        }
    }
}

/// How long a VIP that fails again and again stays away.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HoldDown {
    /// After the second failure? Each further one doubles it; the first costs nothing.
    pub base: Span,
    /// At most?
    pub max: Span,
    /// Announced for how long are failures forgotten?
    pub forget: Span,
}

impl Default for HoldDown {
    fn default() -> Self {
        Self {
            base: Span::secs(10),
            max: Span::secs(300),
            forget: Span::secs(600),
        }
    }
}

/// What the agent may not do however bad things look.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// How many withdrawals may checks cause within the window? A dead proxy is no matter of opinion
    /// and is not counted.
    pub withdrawals: u32,
    /// Which window?
    pub window: Span,
    /// How many other PoPs must be announced for an elective drain?
    pub min_pops: u32,
    /// Which file says so? One PoP a line: its name, a space, its state.
    pub pops_file: Option<PathBuf>,
    /// How old may that file be?
    pub pops_max_age: Span,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            withdrawals: 10,
            window: Span::secs(60),
            min_pops: 0,
            pops_file: None,
            pops_max_age: Span::secs(300),
        }
    }
}

/// How the agent is controlled.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Where is its socket?
    pub socket: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: "/run/anypop/bgp.sock".into(),
        }
    }
}

/// Where metrics are read by TCP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// On which address? Without: nowhere.
    pub address: Option<SocketAddr>,
}

/// What is run at transitions.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Which command, when a VIP changes its state? It finds `ANYPOP_PREFIX`, `ANYPOP_FROM`,
    /// `ANYPOP_TO` and `ANYPOP_REASON` in its environment. No shell is involved.
    pub on_transition: Vec<String>,
    /// How long may it take?
    pub timeout: Span,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            on_transition: Vec::new(),
            timeout: Span::secs(5),
        }
    }
}

/// What is logged.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// For programs or for people?
    pub format: LogFormat,
    /// From which level on?
    pub level: Level,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Text.
    Text,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Errors only.
    Error,
    /// And warnings.
    Warn,
    /// And every transition.
    #[default]
    Info,
    /// And what happens in between.
    Debug,
}

/// Where BIRD is.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bird {
    /// Where is its control socket?
    #[serde(default = "bird_socket")]
    pub control_socket: PathBuf,
    /// Which file, that BIRD's configuration includes, does the agent write?
    pub include_file: PathBuf,
}

fn bird_socket() -> PathBuf {
    "/run/bird/bird.ctl".into()
}

/// How ExaBGP is reached.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exabgp {
    /// Which named pipe takes commands? Without: standard output, the agent being one of ExaBGP's
    /// processes.
    pub pipe: Option<PathBuf>,
}
