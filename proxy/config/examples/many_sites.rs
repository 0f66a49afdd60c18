//! How long do many sites take to load, and how much memory do they take? Writes N site documents (100,000 if not said) to a temporary directory and loads them:
//! `cargo run --release -p anypop-config --example many_sites -- 100000`.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::{
    error::Error,
    fs, hint,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anypop_config::{Site, load_node};

fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = std::env::args()
        .nth(1)
        .map_or(Ok(100_000), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    write(folder.path(), count)?;

    let before = resident()?;
    let start = Instant::now();
    let loaded = load_node(&folder.path().join("node.toml")).map_err(|errors| {
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    let load = start.elapsed();
    let sites = loaded.snapshot.sites;
    let after = resident()?;
    println!(
        "load      {count} sites in {:.2} s, {:.1} µs each",
        load.as_secs_f64(),
        micros(load, count)
    );
    println!(
        "memory    {} MiB more resident, {} bytes a site",
        (after.saturating_sub(before)) >> 20,
        (after.saturating_sub(before)) / count.max(1) as u64
    );

    let hosts: Vec<String> = (0..count)
        .map(|at| {
            if at % 2 == 0 {
                format!("www.s{at}.example")
            } else {
                format!("a.b.img.s{at}.example")
            }
        })
        .collect();
    let start = Instant::now();
    let found = hosts
        .iter()
        .filter(|host| hint::black_box(sites.find(host)).is_some())
        .count();
    println!(
        "find      {} of {count} hosts, {:.3} µs each",
        found,
        micros(start.elapsed(), count)
    );

    let text = document(0).replace("www.s0.example", "new.s0.example");
    let start = Instant::now();
    let site = Site::from_toml(&text, Path::new("0.toml"), &folder.path().join("sites"))
        .map_err(|errors| format!("{errors:?}"))?;
    let changed = sites
        .with_site(Arc::new(site))
        .map_err(|conflicts| format!("{conflicts:?}"))?;
    println!(
        "change    one site, parsed and in place, in {:.0} µs; found: {}",
        micros(start.elapsed(), 1),
        changed.find("new.s0.example").is_some()
    );
    Ok(())
}

/// Documents as customers' sites have them: own hosts, an own origin, cache settings of a few kinds.
fn document(at: usize) -> String {
    let cache = match at % 3 {
        0 => "",
        1 => {
            "[cache]\nstale_while_revalidate = \"30s\"\nstale_if_error = \"1d\"\nquery = { mode = \"allow\", names = [\"v\", \"size\"], sort = true }\n"
        }
        _ => {
            "[[rules]]\npath = \"/static/*\"\nttl = \"365d\"\n\n[[rules]]\npath = \"/api/*\"\nbypass = true\n"
        }
    };
    format!(
        "id = \"site-{at}\"\nhostnames = [\"www.s{at}.example\", \"*.img.s{at}.example\"]\n\n[tls]\ncertificate = \"shared.pem\"\nkey = \"shared.key\"\n\n\
         [origin]\nservers = [{{ url = \"https://origin.s{at}.example\" }}]\nhost = \"www.s{at}.example\"\n\n{cache}"
    )
}

fn write(folder: &Path, count: usize) -> Result<(), Box<dyn Error>> {
    fs::write(
        folder.join("node.toml"),
        "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = true\n",
    )?;
    let sites = folder.join("sites");
    fs::create_dir(&sites)?;
    for name in ["shared.pem", "shared.key"] {
        fs::write(sites.join(name), "read by others")?;
    }
    for at in 0..count {
        fs::write(sites.join(format!("{at}.toml")), document(at))?;
    }
    Ok(())
}

fn micros(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

/// Resident memory in bytes (proc(5), `VmRSS`).
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}
