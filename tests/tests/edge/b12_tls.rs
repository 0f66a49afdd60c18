//! TLS as openssl and curl see it.

use std::path::PathBuf;

use anypop_tests::{
    Authority, Edge, Origin, Reply,
    certificate::Pair,
    command::{Output, curl, run},
};

struct Scene {
    edge: Edge,
    authority: Authority,
    origin: Origin,
    folder: tempfile::TempDir,
}

/// Index of the TLS listener; the plain one is 0.
const TLS: usize = 1;

async fn scene(node: &str, shop: &str) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let origin = Origin::start().await;
    origin.on(
        "/",
        Reply::new(200)
            .field("Cache-Control", "max-age=60")
            .body("home"),
    );
    let site = |id: &str, hosts: &str, pair: &Pair, more: &str| {
        format!(
            "id = \"{id}\"\nhostnames = [{hosts}]\n[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n{more}\n[origin]\nservers = [{{ url = \"{}\" }}]\n",
            pair.certificate.display(),
            pair.key.display(),
            origin.url()
        )
    };
    let one = authority.issue("shop", &["www.shop.example"]);
    let two = authority.issue("images", &["*.img.example"]);
    let shop = shop.replace("{ca}", &authority.file().display().to_string());
    let edge = Edge::builder()
        .listen("")
        .listen("tls = true")
        .node(node)
        .site("shop", &site("shop", "\"www.shop.example\"", &one, &shop))
        .site("images", &site("images", "\"*.img.example\"", &two, ""))
        .start()
        .await;
    Scene {
        edge,
        authority,
        origin,
        folder,
    }
}

impl Scene {
    fn address(&self) -> String {
        self.edge.listener(TLS).to_string()
    }

    async fn curl(&self, host: &str, more: &[&str]) -> Output {
        let resolve = format!("{host}:{}:127.0.0.1", self.edge.listener(TLS).port());
        let url = format!("https://{host}:{}/", self.edge.listener(TLS).port());
        let ca = self.authority.file().display().to_string();
        let mut all = vec!["--resolve", &resolve, "--cacert", &ca, "--include"];
        all.extend(more);
        all.push(&url);
        curl(&all).await
    }

    async fn openssl(&self, more: &[&str], input: &str) -> Output {
        let address = self.address();
        let ca = self.authority.file().display().to_string();
        let mut all = vec!["s_client", "-connect", &address, "-CAfile", &ca];
        all.extend(more);
        run("openssl", all, input.as_bytes()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_gets_its_certificate() {
    let scene = scene("", "").await;
    for host in ["www.shop.example", "a.img.example"] {
        let output = scene.curl(host, &[]).await;
        assert_eq!(output.code, Some(0), "{host}: {}", output.all());
        assert!(output.stdout.ends_with("home"), "{}", output.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_and_no_name_are_refused() {
    let scene = scene("", "").await;
    for more in [&["-servername", "other.example"][..], &["-noservername"]] {
        let output = scene.openssl(more, "").await;
        assert_ne!(output.code, Some(0), "{more:?}");
        assert!(output.all().contains("alert"), "{more:?}: {}", output.all());
    }
    let unrecognized = scene.openssl(&["-servername", "other.example"], "").await;
    assert!(
        unrecognized.all().contains("unrecognized name"),
        "{}",
        unrecognized.all()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_ask_for_another_site_and_gets_that_one() {
    // Browsers reuse a connection for every name its certificate covers (RFC 9113 §9.1.1); the Host decides, except for sites that
    // want client certificates.
    let scene = scene("", "").await;
    for host in ["a.img.example", "www.shop.example"] {
        let field = format!("Host: {host}");
        let output = scene
            .curl("www.shop.example", &["--http1.1", "--header", &field])
            .await;
        assert!(
            output.stdout.starts_with("HTTP/1.1 200"),
            "{}",
            output.all()
        );
        assert!(output.stdout.contains("fwd=uri-miss"), "{}", output.all());
        assert_eq!(
            scene.origin.seen().last().unwrap().header("host"),
            Some(host)
        );
    }
    let unknown = scene
        .curl(
            "www.shop.example",
            &["--http1.1", "--header", "Host: other.example"],
        )
        .await;
    assert!(
        unknown.stdout.starts_with("HTTP/1.1 421"),
        "{}",
        unknown.all()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_as_configured() {
    let strict = scene("[tls]\nmin_version = \"1.3\"", "").await;
    let open = scene("", "").await;
    for (version, on_open, on_strict) in [
        ("-tls1_3", true, true),
        ("-tls1_2", true, false),
        ("-tls1_1", false, false),
    ] {
        for (scene, expected) in [(&open, on_open), (&strict, on_strict)] {
            let output = scene
                .openssl(
                    &[
                        "-servername",
                        "www.shop.example",
                        version,
                        "-cipher",
                        "ALL:@SECLEVEL=0",
                    ],
                    "",
                )
                .await;
            let agreed = output.stdout.contains("Verify return code: 0 (ok)")
                && !output.stdout.contains("Cipher is (NONE)");
            assert_eq!(agreed, expected, "{version}: {}", output.all());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_resume_and_also_on_another_node_with_the_same_keys() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), TICKET_KEYS).unwrap();
    let node = format!("[tls]\nticket_keys = \"{}\"", keys.path().display());
    let (one, two) = (scene(&node, "").await, scene(&node, "").await);
    for version in ["-tls1_2", "-tls1_3"] {
        let session: PathBuf = one.folder.path().join(format!("session{version}.pem"));
        let session = session.display().to_string();
        let get = "GET / HTTP/1.1\r\nHost: www.shop.example\r\nConnection: close\r\n\r\n";
        let first = one
            .openssl(
                &[
                    "-servername",
                    "www.shop.example",
                    version,
                    "-sess_out",
                    &session,
                    "-ign_eof",
                ],
                get,
            )
            .await;
        assert!(first.stdout.contains("New, TLS"), "{}", first.all());
        for (what, node) in [("same", &one), ("other", &two)] {
            let again = node
                .openssl(
                    &[
                        "-servername",
                        "www.shop.example",
                        version,
                        "-sess_in",
                        &session,
                        "-ign_eof",
                    ],
                    get,
                )
                .await;
            assert!(
                again.stdout.contains("Reused, TLS"),
                "{version} {what}: {}",
                again.all()
            );
            assert!(
                again.stdout.contains("home"),
                "{version} {what}: {}",
                again.all()
            );
        }
        // A ticket is for one site: with another name it means nothing.
        let elsewhere = one
            .openssl(
                &[
                    "-servername",
                    "a.img.example",
                    version,
                    "-sess_in",
                    &session,
                ],
                "",
            )
            .await;
        assert!(
            !elsewhere.stdout.contains("Reused, TLS"),
            "{version}: {}",
            elsewhere.all()
        );
    }
}

const TICKET_KEYS: &str = "\
one:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\
two:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\n";

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates() {
    for (auth, without, with) in [
        ("none", true, true),
        ("optional", true, true),
        ("required", false, true),
    ] {
        let ca = if auth == "none" {
            ""
        } else {
            "client_ca = \"{ca}\"\n"
        };
        let scene = scene("", &format!("{ca}client_auth = \"{auth}\"")).await;
        let ours = scene.authority.issue("client", &["client.example"]);
        let strange_folder = tempfile::tempdir().unwrap();
        let theirs = Authority::new(strange_folder.path()).issue("stranger", &["client.example"]);
        let try_with = async |pair: Option<&Pair>| {
            let files = pair.map(|pair| {
                (
                    pair.certificate.display().to_string(),
                    pair.key.display().to_string(),
                )
            });
            let arguments = files
                .as_ref()
                .map(|(certificate, key)| ["--cert", certificate, "--key", key]);
            let output = scene
                .curl(
                    "www.shop.example",
                    arguments.as_ref().map_or(&[], |list| &list[..]),
                )
                .await;
            output.code == Some(0) && output.stdout.contains(" 200")
        };
        assert_eq!(try_with(None).await, without, "{auth} without");
        assert_eq!(try_with(Some(&ours)).await, with, "{auth} with");
        if auth != "none" {
            assert!(!try_with(Some(&theirs)).await, "{auth} with a stranger's");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn required_client_certificates_cannot_be_gone_around_by_another_sites_name() {
    let scene = scene("", "client_ca = \"{ca}\"\nclient_auth = \"required\"").await;
    let output = scene
        .curl(
            "a.img.example",
            &["--http1.1", "--header", "Host: www.shop.example"],
        )
        .await;
    assert!(
        output.stdout.starts_with("HTTP/1.1 421"),
        "{}",
        output.all()
    );
    let plain = scene
        .edge
        .get_with("/", &[("Host", "www.shop.example")])
        .await;
    assert!(
        matches!(plain.status, 301 | 308 | 403 | 421 | 426),
        "a site that wants certificates is not served in the clear: {}",
        plain.status
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_redirected_and_hsts_is_told() {
    let scene = scene(
        "",
        "redirect_http = true\nhsts = { max_age = \"365d\", include_subdomains = true }",
    )
    .await;
    let plain = scene
        .edge
        .get_with("/a?b=c", &[("Host", "www.shop.example")])
        .await;
    assert!(matches!(plain.status, 301 | 308), "{}", plain.status);
    assert_eq!(
        plain.header("location"),
        Some("https://www.shop.example/a?b=c")
    );
    assert_eq!(
        plain.header("strict-transport-security"),
        None,
        "RFC 6797 §7.2: not over plain HTTP"
    );
    let secure = scene.curl("www.shop.example", &[]).await;
    assert!(
        secure
            .stdout
            .to_lowercase()
            .contains("strict-transport-security: max-age=31536000; includesubdomains"),
        "{}",
        secure.all()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_https_are_two_resources() {
    let scene = scene("", "").await;
    let host = [("Host", "www.shop.example")];
    scene.edge.get_with("/", &host).await;
    assert!(scene.edge.get_with("/", &host).await.is_hit());
    assert!(
        scene
            .curl("www.shop.example", &[])
            .await
            .stdout
            .contains("fwd=uri-miss")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_a_deadline_and_plain_http_is_no_handshake() {
    let scene = scene("[limits]\ntls_handshake = \"300ms\"", "").await;
    let mut silent = anypop_tests::Client::connect(scene.edge.listener(TLS)).await;
    let _ = silent.rest().await;
    let mut plain = anypop_tests::Client::connect(scene.edge.listener(TLS)).await;
    plain.send_get("/", &[]).await;
    let answer = plain.rest().await.unwrap_or_default();
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}
