//! The signals that end a node.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::server::Running;

/// Runs until told to end: SIGTERM lets connections end by themselves, a second one or SIGINT ends
/// at once. SIGUSR1 opens the access log's file anew, for who rotates it.
///
/// # Errors
/// When the signals cannot be watched.
pub async fn until_told(running: Running) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => {
                running.stop().await;
                return Ok(());
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
