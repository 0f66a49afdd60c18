//! Bad input to the daemon itself: a clear line each, exit code 2, nothing half-started.

use anypop_tests::{Authority, Edge, Origin, anypop};

struct Case {
    what: &'static str,
    node: &'static str,
    site: String,
    /// What the message must name.
    names: &'static [&'static str],
}

fn site(more: &str) -> String {
    format!(
        "id = \"shop\"\nhostnames = [\"www.shop.example\"]\n{more}\n[origin]\nservers = [{{ url = \"http://192.0.2.1\" }}]\n"
    )
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            what: "no origin",
            node: "",
            site: "id = \"shop\"\nhostnames = [\"www.shop.example\"]\n".into(),
            names: &["shop.toml", "origin"],
        },
        Case {
            what: "unknown key",
            node: "",
            site: site("hostname = [\"x.example\"]"),
            names: &["shop.toml:3", "hostname"],
        },
        Case {
            what: "unknown node key",
            node: "[limits]\nconections = 5",
            site: site(""),
            names: &["node.toml:", "conections", "connections"],
        },
        Case {
            what: "wrong type",
            node: "[limits]\nconnections = \"many\"",
            site: site(""),
            names: &["node.toml:", "connections"],
        },
        Case {
            what: "bad duration",
            node: "[limits]\nidle_timeout = \"soon\"",
            site: site(""),
            names: &["node.toml:", "idle_timeout"],
        },
        Case {
            what: "no TOML",
            node: "[limits",
            site: site(""),
            names: &["node.toml:"],
        },
        Case {
            what: "no such file",
            node: "",
            site: site("[tls]\ncertificate = \"missing.pem\"\nkey = \"missing.key\""),
            names: &["shop.toml:", "missing.pem"],
        },
        Case {
            what: "certificate without key",
            node: "",
            site: site("[tls]\ncertificate = \"missing.pem\""),
            names: &["shop.toml:", "key"],
        },
        Case {
            what: "bad host name",
            node: "",
            site: site("").replace("www.shop.example", "www_shop!.example"),
            names: &["shop.toml:2", "hostnames"],
        },
        Case {
            what: "bad origin",
            node: "",
            site: site("").replace("http://192.0.2.1", "ftp://192.0.2.1"),
            names: &["shop.toml:", "ftp"],
        },
        Case {
            what: "plugins",
            node: "",
            site: format!("{}[[plugins]]\nmodule = \"a.wasm\"\n", site("")),
            names: &["shop.toml:", "plugins"],
        },
        Case {
            what: "disk",
            node: "[[cache.disk]]\npath = \"/x\"\nsize = \"1KiB\"",
            site: site(""),
            names: &["node.toml:", "disk"],
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_named_and_ends_with_2() {
    for case in cases() {
        let builder = Edge::builder().node(case.node).site("shop", &case.site);
        let output = builder.start_and_fail().await;
        assert_eq!(output.code, Some(2), "{}: {}", case.what, output.all());
        for name in case.names {
            assert!(
                output.stderr.contains(name),
                "{}: {name} is not in\n{}",
                case.what,
                output.stderr
            );
        }
        assert!(
            !builder.folder().join("admin.sock").exists(),
            "{}: half started",
            case.what
        );
        let check = anypop([
            "check",
            "--config",
            builder.folder().join("node.toml").to_str().unwrap(),
        ])
        .await;
        assert_eq!(check.code, Some(2), "{}: {}", case.what, check.all());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_lists_everything_that_is_wrong() {
    let builder = Edge::builder()
        .node("[limits]\nconections = 5\nidle_timeout = \"soon\"")
        .site("one", &site("hostname = 1").replace("shop", "one"))
        .site("two", &site("").replace("servers", "server"))
        .site("three", &site("").replace("\"shop\"", "\"three\""))
        .site("four", &site("").replace("\"shop\"", "\"four\""));
    let document = builder.write();
    let output = anypop(["check", "--config", document.to_str().unwrap()]).await;
    assert_eq!(output.code, Some(2));
    let all = output.all();
    for name in [
        "conections",
        "idle_timeout",
        "one.toml:3",
        "two.toml",
        "www.shop.example",
    ] {
        assert!(all.contains(name), "{name} is not in\n{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_is_content_with_what_is_right() {
    let builder = Edge::builder().site("shop", &site(""));
    let output = anypop(["check", "--config", builder.write().to_str().unwrap()]).await;
    assert_eq!(output.code, Some(0), "{}", output.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_cannot_belong_to_two_sites() {
    for hosts in ["\"www.shop.example\"", "\"*.shop.example\"", "\"*\""] {
        let text = |id: &str| {
            format!(
                "id = \"{id}\"\nhostnames = [{hosts}]\n[origin]\nservers = [{{ url = \"http://192.0.2.1\" }}]\n"
            )
        };
        let builder = Edge::builder()
            .site("one", &text("one"))
            .site("two", &text("two"));
        let output = builder.start_and_fail().await;
        assert_eq!(output.code, Some(2), "{hosts}: {}", output.all());
        assert!(
            output.stderr.contains("one") && output.stderr.contains("two"),
            "{hosts}: {}",
            output.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_certificate_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let (one, two) = (
        authority.issue("one", &["www.shop.example"]),
        authority.issue("two", &["www.shop.example"]),
    );
    let tls = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"",
        one.certificate.display(),
        two.key.display()
    );
    let output = Edge::builder()
        .listen("tls = true")
        .site("shop", &site(&tls))
        .start_and_fail()
        .await;
    assert_eq!(output.code, Some(2), "{}", output.all());
    assert!(
        output.stderr.contains("two.key") || output.stderr.contains("one.pem"),
        "{}",
        output.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let builder = Edge::builder().site("shop", &site(""));
    let document = builder.write();
    let text = std::fs::read_to_string(&document)
        .unwrap()
        .replace("127.0.0.1:0", &address);
    std::fs::write(&document, text).unwrap();
    let output = anypop(["serve", "--config", document.to_str().unwrap()]).await;
    assert_eq!(output.code, Some(2), "{}", output.all());
    assert!(output.stderr.contains(&address), "{}", output.stderr);
    assert!(
        !builder.folder().join("admin.sock").exists(),
        "half started"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_arguments_teach() {
    for arguments in [
        &["serve"][..],
        &["serve", "--config", "/nonexistent/node.toml"],
        &["serve", "--origin", "nonsense", "--listen", "127.0.0.1:0"],
        &["swerve"],
    ] {
        let output = anypop(arguments).await;
        assert_eq!(output.code, Some(2), "{arguments:?}: {}", output.all());
        assert!(!output.stderr.is_empty());
    }
    let help = anypop(["--help"]).await;
    assert_eq!(help.code, Some(0));
    for command in ["serve", "check", "demo", "status", "purge"] {
        assert!(
            help.stdout.contains(command),
            "{command} is not in\n{}",
            help.stdout
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        let completions = anypop(["completions", shell]).await;
        assert_eq!(completions.code, Some(0), "{shell}: {}", completions.all());
        assert!(completions.stdout.contains("anypop"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_origin_needs_no_file() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        anypop_tests::Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("hello"),
    );
    let edge = anypop_tests::edge::serve_origin(&origin.url()).await;
    let mut client = anypop_tests::Client::connect(edge.address()).await;
    client.get("/a").await;
    assert!(client.get("/a").await.is_hit());
}
