//! From files to a [`Snapshot`].

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    check::{self, Checker, LARGEST_DOCUMENT},
    diagnostic::{Diagnostic, Severity},
    index::{Conflict, SiteIndex},
    intern::Interner,
    key::Key,
    node::Node,
    site::Site,
    snapshot::Snapshot,
};

/// How many threads read sites at most: beyond that the file system is in the way.
const MOST_THREADS: usize = 16;

/// How many documents a thread takes at once.
const BATCH: usize = 64;

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration, of generation 1.
    pub snapshot: Snapshot,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a node's document and the documents of all its sites.
///
/// # Errors
/// With everything that is wrong, the node's document first, then the sites' in the order of their names. Warnings are among them.
pub fn load_node(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let (node, mut diagnostics) = read_node(path)?;
    let mut sites = SiteIndex::default();
    if let Some(directory) = node
        .sites_directory
        .as_deref()
        .filter(|directory| directory.is_dir())
    {
        let files = as_given(directory, path);
        match load_sites(&files, &node) {
            Ok((index, warnings)) => {
                sites = index;
                diagnostics.extend(warnings);
            }
            Err(errors) => diagnostics.extend(errors),
        }
    }
    if diagnostics.iter().all(Diagnostic::is_warning) {
        let snapshot = Snapshot {
            node: Arc::new(node),
            sites,
            generation: 1,
        };
        Ok(Loaded {
            snapshot,
            warnings: diagnostics,
        })
    } else {
        Err(diagnostics)
    }
}

/// Reads the documents of all sites in a directory: every `*.toml` in it but those whose name begins with a dot, in no folder below it.
/// The warnings come with the index.
///
/// # Errors
/// With everything that is wrong, in the order of the documents' names.
pub fn load_sites(
    directory: &Path,
    node: &Node,
) -> Result<(SiteIndex, Vec<Diagnostic>), Vec<Diagnostic>> {
    let files = list(directory).map_err(|error| vec![error])?;
    let mut diagnostics = Vec::new();
    let mut index = SiteIndex::default();
    let mut with_tls = false;
    for outcome in read_all(&files) {
        let site = match outcome {
            Ok(site) => Arc::new(site),
            Err(errors) => {
                diagnostics.extend(errors);
                continue;
            }
        };
        with_tls |= site.tls.is_some();
        if let (Some(size), Some(source)) = (site.cache.max_object, &site.source)
            && size > node.cache.max_object
        {
            let message = format!(
                "is more than the node's cache.max_object, {}",
                node.cache.max_object
            );
            diagnostics.push(at_key(source, &Key::of("cache.max_object"), message));
        }
        let conflicts = index.insert(Arc::clone(&site));
        for conflict in conflicts {
            diagnostics.push(conflict_at(&site, &index, &conflict));
        }
    }
    if let Some(listen) = node.listen.iter().find(|listen| listen.tls)
        && !with_tls
        && diagnostics.is_empty()
    {
        let mut warning = Diagnostic::of_file(
            directory,
            format!(
                "no site here has a certificate, so every TLS handshake at {} will fail",
                listen.address
            ),
        );
        warning.severity = Severity::Warning;
        diagnostics.push(warning);
    }
    if diagnostics.iter().all(Diagnostic::is_warning) {
        Ok((index, diagnostics))
    } else {
        Err(diagnostics)
    }
}

/// Reads one site's document.
///
/// # Errors
/// With everything that is wrong with it.
pub fn load_site(path: &Path) -> Result<Site, Vec<Diagnostic>> {
    read_site(path, &mut Interner::default())
}

fn read_node(path: &Path) -> Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>> {
    let text = read_text(path).map_err(|error| vec![error])?;
    let base = folder(path);
    let mut checker = Checker::toml(path, &text, &base);
    let node = check::check_node(&mut checker);
    checker.sort();
    Ok((node, checker.diagnostics))
}

fn read_site(path: &Path, interner: &mut Interner) -> Result<Site, Vec<Diagnostic>> {
    let text = read_text(path).map_err(|error| vec![error])?;
    let base = folder(path);
    let mut checker = Checker::toml(path, &text, &base);
    let site = check::check_site(&mut checker, interner, Some(path));
    checker.sort();
    match site {
        Some(site) if !checker.failed() => Ok(site),
        _ => Err(checker.diagnostics),
    }
}

/// The folder that a document's relative paths start at, as an absolute path.
pub(crate) fn folder(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A directory by the way that the node's document was given: people find `sites/shop.toml` quicker than a long absolute path.
fn as_given(directory: &Path, node: &Path) -> PathBuf {
    match (directory.strip_prefix(folder(node)), node.parent()) {
        (Ok(below), Some(parent)) => parent.join(below),
        _ => directory.to_path_buf(),
    }
}

fn read_text(path: &Path) -> Result<String, Diagnostic> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(Diagnostic::of_file(
            path,
            format!("cannot read: {}", check::reason(&error)),
        ));
    }
    if bytes.len() as u64 > LARGEST_DOCUMENT {
        return Err(Diagnostic::of_file(
            path,
            "is larger than 1MiB, which no document may be".into(),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let mut diagnostic = Diagnostic::of_file(path, "is no UTF-8 text".into());
        diagnostic.line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        diagnostic
    })
}

/// The documents in a directory, by name.
fn list(directory: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let unreadable = |error: std::io::Error| {
        Diagnostic::of_file(directory, format!("cannot read: {}", check::reason(&error)))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let name = PathBuf::from(entry.map_err(unreadable)?.file_name());
        let hidden = name.as_os_str().as_encoded_bytes().starts_with(b".");
        if !hidden
            && name
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            files.push(directory.join(name));
        }
    }
    files.sort_unstable();
    Ok(files)
}

type Outcome = Result<Site, Vec<Diagnostic>>;

/// Reads all documents on all cores; the outcomes are in the order of the files.
fn read_all(files: &[PathBuf]) -> Vec<Outcome> {
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_THREADS)
        .min(files.len().div_ceil(BATCH))
        .max(1);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut interner = Interner::default();
        let mut done: Vec<(usize, Vec<Outcome>)> = Vec::new();
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = files
                .get(start..files.len().min(start.saturating_add(BATCH)))
                .filter(|batch| !batch.is_empty())
            else {
                return done;
            };
            done.push((
                start,
                batch
                    .iter()
                    .map(|file| read_site(file, &mut interner))
                    .collect(),
            ));
        }
    };
    let mut batches: Vec<(usize, Vec<Outcome>)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = others.into_iter().map(|other| {
            other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.chain([own]).flatten().collect()
    });
    batches.sort_unstable_by_key(|(start, _)| *start);
    batches
        .into_iter()
        .flat_map(|(_, outcomes)| outcomes)
        .collect()
}

/// Says where a site's document claims what another one has. The document is read again for that: its text isn't kept.
fn conflict_at(site: &Site, index: &SiteIndex, conflict: &Conflict) -> Diagnostic {
    let (key, other) = match conflict {
        Conflict::Id(id) => (Key::of("id"), index.by_id(id.as_str())),
        Conflict::Host { pattern, owner } => {
            let at = site
                .hostnames
                .iter()
                .position(|own| own == pattern)
                .unwrap_or(0);
            (Key::of("hostnames").index(at), index.by_id(owner.as_str()))
        }
    };
    let first = other
        .and_then(|other| other.source.as_ref())
        .map(|source| format!(" ({})", source.display()))
        .unwrap_or_default();
    let message = format!("{conflict}{first}");
    match &site.source {
        Some(source) => at_key(source, &key, message),
        None => Diagnostic {
            file: None,
            line: 0,
            column: 0,
            key: key.pointer(),
            message,
            severity: Severity::Error,
        },
    }
}

fn at_key(file: &Path, key: &Key, message: String) -> Diagnostic {
    let text = read_text(file).unwrap_or_default();
    let base = folder(file);
    Checker::toml(file, &text, &base).about(key, message)
}
