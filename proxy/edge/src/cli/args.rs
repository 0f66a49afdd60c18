//! The commands and their options, as `--help` teaches them.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// A CDN point of presence: a caching HTTP edge for many sites.
#[derive(Debug, Parser)]
#[command(
    name = "anypop",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Try it at once:  anypop demo\nOne origin, no file:  anypop serve --origin http://127.0.0.1:8000 --listen 127.0.0.1:8080"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve: from a node document, or for one origin without any file
    Serve(Serve),
    /// Read a node document and its sites, and say everything that is wrong
    Check(Check),
    /// Start a whole PoP on loopback, with an origin of its own, and print curl lines to try
    Demo(Demo),
    /// Say how a running daemon is
    Status(Status),
    /// Purge what the cache holds: by URL, prefix, tag, host or site, or everything
    Purge(Purge),
    /// Tell how a URL would be keyed, whether it is stored, and whether it would be served
    Explain(Explain),
    /// List the sites that a running daemon serves
    Sites(Sites),
    /// Make a running daemon read its documents again: all of it comes into force, or nothing
    Reload(Reload),
    /// Print shell completions
    #[command(after_help = "bash:  anypop completions bash > /etc/bash_completion.d/anypop")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["config", "origin"]))]
pub(super) struct Serve {
    /// The node document (TOML)
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The one origin to serve, any Host, without a document: http://HOST[:PORT] or https://…
    #[arg(long, value_name = "URL", requires = "listen")]
    pub(super) origin: Option<String>,
    /// Where to listen, with --origin; port 0 takes a free one
    #[arg(long, value_name = "ADDR", conflicts_with = "config")]
    pub(super) listen: Option<SocketAddr>,
    /// Control socket, with --origin (default: none)
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub(super) admin_socket: Option<PathBuf>,
    /// Memory for the cache, with --origin
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256MiB",
        conflicts_with = "config"
    )]
    pub(super) memory: String,
    /// Access log, with --origin: stdout, off, file:PATH or syslog:TARGET
    #[arg(
        long,
        value_name = "SINK",
        default_value = "stdout",
        conflicts_with = "config"
    )]
    pub(super) access_log: String,
    /// Write a JSON file with the bound addresses once requests can be served
    #[arg(long, value_name = "FILE")]
    pub(super) announce: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The node document (TOML)
    #[arg(long, value_name = "FILE", default_value = "/etc/anypop/node.toml")]
    pub(super) config: PathBuf,
    /// Print the findings as one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where to listen for HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(super) http: SocketAddr,
    /// Where to listen for HTTPS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub(super) https: SocketAddr,
    /// Write a JSON file with the bound addresses once requests can be served
    #[arg(long, value_name = "FILE")]
    pub(super) announce: Option<PathBuf>,
}

/// How a control command finds its daemon.
#[derive(Debug, Args)]
pub(super) struct Control {
    /// The daemon's control socket [default: /run/anypop/admin.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub(super) socket: Option<PathBuf>,
    /// The node document that names the socket
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) control: Control,
}

#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    pub(super) control: Control,
}

#[derive(Debug, Args)]
pub(super) struct Sites {
    #[command(flatten)]
    pub(super) control: Control,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// An absolute URL, as a client would ask for it
    pub(super) url: String,
    /// A request header that matters (Vary, cookies in the key): "Name: value"; may be repeated
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    pub(super) headers: Vec<String>,
    #[command(flatten)]
    pub(super) control: Control,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("scope").required(true).args(["url", "prefix", "tag", "host", "everything"]))]
#[command(
    after_help = "--everything with --site purges that site; without --site, every site of the node.\n\
    A purge is a clock: it takes the same time however much it hits, and a fill that began before it cannot bring old bytes back."
)]
pub(super) struct Purge {
    /// The site's id; needed for all but --everything
    #[arg(long, value_name = "ID")]
    pub(super) site: Option<String>,
    /// One URL: all variants of it, both schemes
    #[arg(long, value_name = "URL", requires = "site")]
    pub(super) url: Option<String>,
    /// All URLs that begin so: http://HOST/PATH-PREFIX
    #[arg(long, value_name = "URL", requires = "site")]
    pub(super) prefix: Option<String>,
    /// All responses with this tag (Surrogate-Key, Cache-Tag)
    #[arg(long, value_name = "TAG", requires = "site")]
    pub(super) tag: Option<String>,
    /// All URLs of this host
    #[arg(long, value_name = "HOST", requires = "site")]
    pub(super) host: Option<String>,
    /// All of the site, or of the node
    #[arg(long)]
    pub(super) everything: bool,
    /// Mark as stale instead: served while it is refreshed, or on an origin's error, as the site allows
    #[arg(long)]
    pub(super) soft: bool,
    #[command(flatten)]
    pub(super) control: Control,
}
