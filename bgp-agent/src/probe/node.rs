//! Checks of the node: space, load, a command.

use std::{path::PathBuf, process::Stdio};

use tokio::process::Command;

use crate::document::{Free, NodeCheck};

/// A check of the node.
#[derive(Clone, Debug)]
pub enum NodeProbe {
    /// There must be space in a folder.
    Disk(PathBuf, Free),
    /// The load average of one minute must not be higher.
    Load(f64),
    /// A command must end with 0.
    Command(Vec<String>),
}

impl NodeProbe {
    /// From a checked document; none if it names nothing to check.
    pub fn new(check: &NodeCheck) -> Option<Self> {
        match (&check.disk, check.min_free, check.load, &check.command) {
            (Some(folder), Some(free), None, None) => Some(Self::Disk(folder.clone(), free)),
            (None, None, Some(load), None) => Some(Self::Load(load)),
            (None, None, None, Some(command)) => Some(Self::Command(command.clone())),
            _ => None,
        }
    }

    /// What people call it.
    pub fn name(&self) -> String {
        match self {
            Self::Disk(folder, _) => format!("disk {}", folder.display()),
            Self::Load(_) => "load".to_owned(),
            Self::Command(command) => format!("command {}", command.join(" ")),
        }
    }

    /// Checks once. The caller sets the time limit.
    ///
    /// # Errors
    /// What is not as it should be.
    pub async fn run(&self) -> Result<(), String> {
        match self {
            Self::Disk(folder, free) => {
                let (folder, free) = (folder.clone(), *free);
                // A file system that hangs must not hang the agent.
                tokio::task::spawn_blocking(move || disk(&folder, free))
                    .await
                    .map_err(|error| error.to_string())?
            }
            Self::Load(most) => {
                let text = tokio::fs::read_to_string("/proc/loadavg")
                    .await
                    .map_err(|error| error.to_string())?;
                load(&text, *most)
            }
            Self::Command(command) => run_command(command, &[]).await,
        }
    }
}

fn disk(folder: &std::path::Path, least: Free) -> Result<(), String> {
    let space = rustix::fs::statvfs(folder).map_err(|error| error.to_string())?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let enough = match least {
        Free::Bytes(bytes) => free >= bytes,
        Free::Percent(percent) => {
            let all = u128::from(space.f_blocks) * u128::from(percent);
            u128::from(space.f_bavail) * 100 >= all
        }
    };
    if enough {
        Ok(())
    } else {
        Err(format!("{} MiB are free", free >> 20))
    }
}

fn load(text: &str, most: f64) -> Result<(), String> {
    let load: f64 = text
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .ok_or("/proc/loadavg is not as it should be")?;
    if load <= most {
        Ok(())
    } else {
        Err(format!("the load is {load}"))
    }
}

/// Runs a command to its end; with it end all that it started in its process group, also when the
/// future is dropped.
///
/// # Errors
/// When it cannot be started, or ends with anything but 0.
pub async fn run_command(command: &[String], environment: &[(&str, String)]) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let group = Group(child.id());
    let status = child.wait().await.map_err(|error| error.to_string());
    drop(group);
    let status = status?;
    if status.success() {
        Ok(())
    } else {
        Err(status.to_string())
    }
}

/// A process group that ends with this.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let group = self
            .0
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            // It may be gone already, which is as good.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_command_says_how_it_ended_and_does_not_outlive_its_time() {
        let command = |text: &str| vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()];
        assert!(run_command(&command("exit 0"), &[]).await.is_ok());
        assert!(
            run_command(&command("exit 3"), &[])
                .await
                .unwrap_err()
                .contains('3')
        );
        let set = [("ANYPOP_TO", "announced".to_owned())];
        let seen = run_command(&command("test \"$ANYPOP_TO\" = announced"), &set).await;
        assert!(seen.is_ok());
        assert!(
            run_command(&["/nonexistent".to_owned()], &[])
                .await
                .is_err()
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let text = format!(
            "sleep 600 & echo $! > {}.new; mv {0}.new {0}; wait",
            file.display()
        );
        let endless = command(&text);
        let mut running = Box::pin(run_command(&endless, &[]));
        // Until it has started its own child.
        let pid = loop {
            let _ = tokio::time::timeout(Duration::from_millis(5), &mut running).await;
            if let Ok(text) = std::fs::read_to_string(&file) {
                break text.trim().to_owned();
            }
        };
        drop(running);
        // A zombie that nobody has waited for yet is dead enough.
        let alive = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while alive() {
            assert!(std::time::Instant::now() < deadline, "the child lives on");
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn load_and_space_are_compared() {
        assert!(load("0.52 0.58 0.59 1/597 12", 0.6).is_ok());
        assert!(load("0.72 0.58 0.59 1/597 12", 0.6).is_err());
        assert!(load("", 0.6).is_err());
        let here = std::path::Path::new("/");
        assert!(disk(here, Free::Bytes(1)).is_ok());
        assert!(disk(here, Free::Bytes(u64::MAX)).is_err());
        assert!(disk(std::path::Path::new("/nonexistent"), Free::Bytes(1)).is_err());
    }
}
