//! shim
use crate::settings::Unusable;
use anypop_config::Snapshot;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
#[derive(Debug)]
pub struct CertificateStore;
impl anypop_listen::tls::Certificates for CertificateStore {
    fn select(&self, _: Option<&str>, _: bool) -> Option<anypop_listen::tls::Selected> {
        None
    }
}
pub(super) fn load(_: &Snapshot) -> Result<Arc<CertificateStore>, Unusable> {
    Ok(Arc::new(CertificateStore))
}
pub(super) async fn follow_ticket_keys(_: Arc<CertificateStore>, stop: CancellationToken) {
    stop.cancelled().await
}
