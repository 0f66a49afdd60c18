use std::{fmt, path::PathBuf};

use super::{Hostname, ValueError, shown};

/// Where access log lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum AccessLog {
    /// `"stdout"`.
    #[default]
    Stdout,
    /// `"off"`.
    Off,
    /// `"file:/path"`.
    File(PathBuf),
    /// `"syslog:/dev/log"` or `"syslog:host:514"`.
    Syslog(SyslogTarget),
}

/// Where syslog listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SyslogTarget {
    /// A Unix datagram socket on this machine.
    Unix(PathBuf),
    /// A host and UDP port.
    Udp(Hostname, u16),
}

impl std::str::FromStr for AccessLog {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = || {
            ValueError(format!(
                "\"{}\" is no log target: write \"stdout\", \"off\", \"file:/path\", \"syslog:/dev/log\" or \"syslog:host:514\"",
                shown(text)
            ))
        };
        let target = match text.split_once(':') {
            None if text == "stdout" => Self::Stdout,
            None if text == "off" => Self::Off,
            Some(("file", path)) if !path.is_empty() => Self::File(path.into()),
            Some(("syslog", path)) if path.starts_with('/') => {
                Self::Syslog(SyslogTarget::Unix(path.into()))
            }
            Some(("syslog", server)) => {
                let (host, port) = server.rsplit_once(':').ok_or_else(refuse)?;
                let port = port
                    .parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(refuse)?;
                Self::Syslog(SyslogTarget::Udp(host.parse()?, port))
            }
            _ => return Err(refuse()),
        };
        Ok(target)
    }
}

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Off => f.write_str("off"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Syslog(SyslogTarget::Unix(path)) => write!(f, "syslog:{}", path.display()),
            Self::Syslog(SyslogTarget::Udp(host, port)) => write!(f, "syslog:{host}:{port}"),
        }
    }
}

super::as_text!(AccessLog, "a log target such as \"stdout\"", {
    "type": "string",
    "pattern": "^(stdout|off|file:.+|syslog:/.+|syslog:.+:[0-9]{1,5})$"
});
