//! `anypop demo`: a whole PoP on loopback with an origin of its own. The documents it runs on are
//! ordinary ones in a temporary folder, so what it shows is what a real node does.

mod origin;

use std::{fmt::Write as _, fs, io, net::SocketAddr, path::Path};

use super::{Failure, args::Demo, check, print, serve};
use crate::server::{Document, Doors, Ready};

pub(super) fn run(args: Demo) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("anypop-demo-").tempdir()?;
    let origin = origin::start()?;
    write_documents(folder.path(), &args, origin)?;
    let loaded =
        anypop_config::load_node(&folder.path().join("node.toml")).map_err(check::failure)?;
    let log = Some(serve::start_log(&loaded.snapshot.node)?);
    let document = Some(Document {
        source: folder.path().join("node.toml"),
        log,
    });
    let socket = folder.path().join("admin.sock");
    let certificate = folder.path().join("demo.pem");
    serve::serve(
        loaded.snapshot,
        Doors::All,
        document,
        args.announce.as_deref(),
        |ready| {
            let _ = print(lines_to_try(ready, &socket, &certificate, origin));
        },
    )
}

fn write_documents(folder: &Path, args: &Demo, origin: SocketAddr) -> Result<(), Failure> {
    let certified = rcgen::generate_simple_self_signed(vec![
        "demo.test".to_owned(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ])
    .map_err(|error| Failure::Running(format!("no certificate could be made: {error}")))?;
    fs::create_dir(folder.join("sites"))?;
    write_private(
        &folder.join("demo.key"),
        &certified.signing_key.serialize_pem(),
    )?;
    fs::write(folder.join("demo.pem"), certified.cert.pem())?;
    fs::write(folder.join("node.toml"), node_document(args))?;
    fs::write(
        folder.join("sites").join("demo.toml"),
        site_document(origin),
    )?;
    Ok(())
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

fn node_document(args: &Demo) -> String {
    format!(
        r#"[node]
name = "demo-a"
pop = "demo"

[[listen]]
address = "{http}"

[[listen]]
address = "{https}"
tls = true

[admin]
socket = "admin.sock"

[status]
socket = "status.sock"

[cache]
memory = "128MiB"

[origin]
allow = ["127.0.0.0/8"]

[log]
access = "stdout"
level = "warn"

[sites]
directory = "sites"
"#,
        http = args.http,
        https = args.https,
    )
}

fn site_document(origin: SocketAddr) -> String {
    format!(
        r#"id = "demo"
hostnames = ["demo.test", "localhost", "127.0.0.1"]

[tls]
certificate = "../demo.pem"
key = "../demo.key"

[origin]
servers = [{{ url = "http://{origin}" }}]

[cache]
stale_while_revalidate = "10s"
stale_if_error = "1h"
negative = {{ "404" = "10s" }}
"#
    )
}

fn lines_to_try(ready: &Ready, socket: &Path, certificate: &Path, origin: SocketAddr) -> String {
    let port = |tls| {
        ready
            .listeners
            .iter()
            .find(|listener| listener.tls == tls)
            .map_or(0, |listener| listener.address.port())
    };
    let (http, https) = (port(false), port(true));
    let (socket, certificate) = (socket.display(), certificate.display());
    // It need not be on the path: `cargo run` starts it from the build's folder.
    let anypop = std::env::current_exe()
        .map_or_else(|_| "anypop".to_owned(), |path| path.display().to_string());
    let mut text = format!(
        "\nA PoP is running: http on port {http}, https on port {https}; its origin is http://{origin}\n\
         Every request is logged below as a line of JSON. Try, in another terminal:\n\n"
    );
    let mut line = |what: &str, command: String| {
        let _ = writeln!(text, "  # {what}\n  {command}\n");
    };
    line(
        "a miss, then a hit: look at Cache-Status and Age",
        format!("curl -i http://localhost:{http}/hello"),
    );
    line(
        "HTTPS and HTTP/2, with the certificate made at start",
        format!("curl -i --cacert {certificate} https://localhost:{https}/hello"),
    );
    line(
        "a range of a cached object",
        format!("curl -i -r 0-9 http://localhost:{http}/file"),
    );
    line(
        "a slow response: two clients, one fill",
        format!(
            "curl -s http://localhost:{http}/slow & curl -s http://localhost:{http}/slow; wait"
        ),
    );
    line(
        "never stored",
        format!("curl -i http://localhost:{http}/private"),
    );
    line(
        "purge by tag, and see the miss",
        format!(
            "{anypop} purge --socket {socket} --site demo --tag greeting && curl -sI http://localhost:{http}/hello"
        ),
    );
    line(
        "why would it be served, or not?",
        format!("{anypop} explain --socket {socket} http://localhost:{http}/hello"),
    );
    line("how is it?", format!("{anypop} status --socket {socket}"));
    text.push_str("Ctrl-C ends it.\n\n");
    text
}
