//! The signals that end a node.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::server::{Running, reload};

/// Runs until told to end: SIGTERM lets connections end by themselves, a second one or SIGINT ends
/// at once. SIGHUP reads the documents again. SIGUSR1 opens the access log's file anew, for who
/// rotates it.
///
/// # Errors
/// When the signals cannot be watched.
pub async fn until_told(running: Running) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => {
                running.stop().await;
                return Ok(());
            }
            _ = hang_up.recv() => {
                let edge = running.edge().clone();
                // It logs what came of it; the node goes on either way.
                let _ = tokio::task::spawn_blocking(move || reload(&edge)).await;
            }
            _ = reopen.recv() => running.edge().access_log.reopen(),
        }
    }
    let cut = running.cutter();
    let drained = running.drain("SIGTERM");
    tokio::pin!(drained);
    tokio::select! {
        () = &mut drained => return Ok(()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    cut.cancel();
    drained.await;
    Ok(())
}
