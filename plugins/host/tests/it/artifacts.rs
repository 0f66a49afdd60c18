//! Compiled modules on disk: only our own are ever loaded.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anypop_plugins::{artifact::ArtifactError, *};

use crate::{guests::Guest, support::*};

fn pop_at(directory: &Path) -> Pop {
    let directory = directory.to_owned();
    Pop::with(|options| options.artifacts = Some(directory))
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "cwasm")
    });
    files
}

fn guest() -> Guest {
    Guest::new().on("request_headers", "(call $say (i32.const 0)) (i32.const 0)")
}

#[test]
fn a_second_start_loads_what_the_first_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("compiled");
    pop_at(&directory).host.compile(&guest().wasm()).unwrap();
    let file = files(&directory).pop().unwrap();
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    let pop = pop_at(&directory);
    let (flow, _, lines) = pop.get(&guest());
    assert_eq!((flow, lines.concat().as_str()), (Flow::Continue, "0"));
    assert_eq!(
        fs::metadata(&file).unwrap().modified().unwrap(),
        before,
        "it was not written again"
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&directory), mode(&directory.join("key")), mode(&file)),
        (0o700, 0o600, 0o600)
    );
}

#[test]
fn damaged_forged_and_renamed_artefacts_are_compiled_anew() {
    let folder = tempfile::tempdir().unwrap();
    pop_at(folder.path()).host.compile(&guest().wasm()).unwrap();
    let file = files(folder.path()).pop().unwrap();
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut forged = good.clone();
    forged[8..40].fill(0);
    let truncated = good[..good.len() / 2].to_vec();
    for bad in [flipped, forged, truncated, Vec::new(), b"anypop".to_vec()] {
        fs::write(&file, &bad).unwrap();
        assert_eq!(pop_at(folder.path()).get(&guest()).0, Flow::Continue);
        assert_eq!(fs::read(&file).unwrap().len(), good.len());
    }
    // Ours, but another module's.
    let other = Guest::new().on("request_headers", "unreachable");
    pop_at(folder.path()).host.compile(&other.wasm()).unwrap();
    let others = files(folder.path())
        .into_iter()
        .find(|path| *path != file)
        .unwrap();
    fs::copy(&others, &file).unwrap();
    assert_eq!(pop_at(folder.path()).get(&guest()).0, Flow::Continue);
    // Writable by others.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(pop_at(folder.path()).get(&guest()).0, Flow::Continue);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn folders_that_others_can_write_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = artifact::Artifacts::open(folder.path()).unwrap_err();
    assert!(matches!(error, ArtifactError::Unsafe(_)), "{error}");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(folder.path().join("key"), b"short").unwrap();
    fs::set_permissions(folder.path().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(
        artifact::Artifacts::open(folder.path()),
        Err(ArtifactError::Key(_))
    ));
}

#[test]
fn precompiled_code_is_never_taken_for_a_plugin() {
    let pop = Pop::new();
    let engine = wasmtime::Engine::default();
    let compiled = engine.precompile_module(&guest().wasm()).unwrap();
    let error = pop.host.compile(&compiled).unwrap_err().to_string();
    assert!(error.contains("compiled code"), "{error}");
}
