//! The example plugins, where `plugins/examples/build` has built them; without a WASM toolchain these tests say so
//! and do nothing.

use std::{path::PathBuf, sync::Arc};

use anypop_plugins::*;
use bytes::Bytes;

use crate::support::*;

fn example(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/out")
        .join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(wasm) => Some(wasm),
        Err(_) => {
            eprintln!(
                "skipped: {} is not built; plugins/examples/build builds it",
                path.display()
            );
            None
        }
    }
}

fn attach(pop: &Pop, name: &str, configuration: &str) -> Option<Result<Arc<Plugin>, PluginError>> {
    let wasm = example(name)?;
    let configuration = Bytes::copy_from_slice(configuration.as_bytes());
    Some(pop.try_attach("site", &wasm, |spec| spec.configuration = configuration))
}

fn get(path: &str) -> Fields {
    Fields::request(
        "GET",
        "https",
        "www.shop.example",
        path,
        &headers(&[("x-gone", "1")]),
    )
}

#[test]
fn add_header() {
    let pop = Pop::new();
    let config = r#"{"request":{"set":{"x-pop":"pop1"},"remove":["x-gone"]},"response":{"add":{"set-cookie":"c=3"}}}"#;
    let Some(plugin) = attach(&pop, "add-header", config) else {
        return;
    };
    let plugin = plugin.unwrap();
    let mut stream = pop.stream(&[&plugin]);
    assert_eq!(
        stream.head(Direction::Request, get("/"), true),
        Flow::Continue
    );
    assert_eq!(
        stream.head(Direction::Response, response(), true),
        Flow::Continue
    );
    let head = stream.released_head(Direction::Request).unwrap();
    assert_eq!(
        (head.text("x-pop"), head.text("x-gone")),
        (Some("pop1"), None)
    );
    let cookies = stream
        .released_head(Direction::Response)
        .unwrap()
        .to_headers()
        .get_all("set-cookie")
        .iter()
        .count();
    assert_eq!(cookies, 3);
    let error = attach(&pop, "add-header", r#"{"typo":1}"#)
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, PluginError::Start(Fault::Refused(_))));
    assert!(pop.lines().iter().any(|line| line.contains("typo")));
}

#[test]
fn add_header_from_a_snapshot() {
    let Some(wasm) = example("add-header") else {
        return;
    };
    let pop = Pop::new();
    let plugin = pop
        .try_attach("site", &wasm, |spec| {
            spec.configuration = r#"{"request":{"set":{"x-pop":"pop1"}}}"#.into();
            spec.isolation = Isolation::Request;
        })
        .unwrap();
    assert!(plugin.has_snapshot());
    for _ in 0..3 {
        let mut stream = pop.stream(&[&plugin]);
        assert_eq!(
            stream.head(Direction::Request, get("/"), true),
            Flow::Continue
        );
        assert_eq!(
            stream
                .released_head(Direction::Request)
                .unwrap()
                .text("x-pop"),
            Some("pop1")
        );
    }
}

#[test]
fn redirects() {
    let pop = Pop::new();
    let config =
        r#"{"rules":[{"from":"/old/*","to":"/new/*","status":301},{"from":"/","to":"/home"}]}"#;
    let Some(plugin) = attach(&pop, "redirects", config) else {
        return;
    };
    let plugin = plugin.unwrap();
    for (path, expected) in [
        ("/old/a?b=c", Some((301, "/new/a?b=c"))),
        ("/", Some((302, "/home"))),
        ("/other", None),
    ] {
        let mut stream = pop.stream(&[&plugin]);
        let flow = stream.head(Direction::Request, get(path), true);
        match (flow, expected) {
            (Flow::Continue, None) => {}
            (Flow::Respond(answer), Some((status, location))) => {
                assert_eq!(
                    (answer.status, answer.headers.text("location")),
                    (status, Some(location))
                );
            }
            (flow, _) => panic!("{path}: {flow:?}"),
        }
    }
}

#[test]
fn signed_url() {
    let pop = Pop::new();
    let config = r#"{"secret":"0123456789abcdef","prefix":"/private/"}"#;
    let Some(plugin) = attach(&pop, "signed-url", config) else {
        return;
    };
    let plugin = plugin.unwrap();
    // printf '/private/a\0004102444800' | openssl dgst -sha256 -hmac 0123456789abcdef
    let token = TOKEN;
    let run = |path: &str| {
        let mut stream = pop.stream(&[&plugin]);
        match stream.head(Direction::Request, get(path), true) {
            Flow::Continue => Ok(stream
                .released_head(Direction::Request)
                .unwrap()
                .path()
                .to_owned()),
            Flow::Respond(answer) => Err((
                answer.status,
                String::from_utf8_lossy(&answer.body).trim().to_owned(),
            )),
            flow => panic!("{flow:?}"),
        }
    };
    assert_eq!(run("/public"), Ok("/public".to_owned()));
    assert_eq!(
        run(&format!("/private/a?x=1&expires=4102444800&token={token}")),
        Ok("/private/a?x=1".to_owned())
    );
    assert_eq!(
        run("/private/a"),
        Err((403, "this URL needs a token".to_owned()))
    );
    assert_eq!(
        run(&format!("/private/b?expires=4102444800&token={token}")),
        Err((403, "the token is wrong".to_owned()))
    );
    assert_eq!(
        run(&format!("/private/a?expires=1&token={token}")),
        Err((403, "the token is wrong".to_owned()))
    );
    assert_eq!(
        run("/private/a?expires=1&token=zz"),
        Err((403, "the token is not hexadecimal".to_owned()))
    );
}

const TOKEN: &str = "b26b67a9948a3fc902a339778e4f3f3523f1323ea056ce1cfcbcb22d52e17771";

#[test]
fn body_rewrite() {
    let pop = Pop::new();
    let Some(plugin) = attach(&pop, "body-rewrite", "cat\tdog!") else {
        return;
    };
    let plugin = plugin.unwrap();
    for _ in 0..3 {
        let mut stream = pop.stream(&[&plugin]);
        stream.head(Direction::Request, get("/"), true);
        let head = Fields::response(200, &headers(&[("content-length", "14")]));
        assert_eq!(
            stream.head(Direction::Response, head, false),
            Flow::Continue
        );
        assert_eq!(
            stream
                .released_head(Direction::Response)
                .unwrap()
                .text("content-length"),
            None
        );
        assert_eq!(
            stream.body(Direction::Response, "a ca".into(), false),
            Flow::Continue
        );
        assert_eq!(
            stream.body(Direction::Response, "t and a ca".into(), true),
            Flow::Continue
        );
        assert_eq!(stream.take_body(Direction::Response), "a dog! and a ca");
    }
    assert!(matches!(
        attach(&pop, "body-rewrite", "nothing").unwrap(),
        Err(PluginError::Start(Fault::Refused(_)))
    ));
}
