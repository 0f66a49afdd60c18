//! Binding and accepting.

use crate::common::{loopback, start};
use anypop_listen::{BindError, ListenSettings, Listener};

#[tokio::test]
async fn errors_say_what_to_do() {
    let node = start().await;
    let error = Listener::bind(ListenSettings::new(node.address)).unwrap_err();
    assert!(matches!(error, BindError::InUse(address) if address == node.address));
    assert!(
        error
            .to_string()
            .starts_with(&format!("{}: the address is in use", node.address)),
        "{error}"
    );
    let error = Listener::bind(ListenSettings::new("192.0.2.200:0".parse().unwrap())).unwrap_err();
    assert!(matches!(error, BindError::NotLocal(_)), "{error}");
}

#[tokio::test]
async fn sockets_can_be_shared() {
    let settings = ListenSettings {
        reuse_port: true,
        ..loopback()
    };
    let first = Listener::bind(settings.clone()).unwrap();
    let address = first.local_addr().unwrap();
    let second = Listener::bind(ListenSettings {
        address,
        ..settings
    })
    .unwrap();
    assert_eq!(second.local_addr().unwrap(), address);
    assert_eq!(second.try_clone().unwrap().local_addr().unwrap(), address);
    let taken = Listener::from_socket(first.socket().try_clone().unwrap(), loopback());
    assert_eq!(taken.local_addr().unwrap(), address);
}
