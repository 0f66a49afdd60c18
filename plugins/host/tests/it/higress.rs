//! Plugins that others have built. Set `HIGRESS_PLUGINS` to a folder of .wasm files (such as those of the Python
//! package gpustack-higress-plugins) and each is started with `{}` and given a request; without it nothing is tested.

use std::{path::PathBuf, time::Duration};

use anypop_plugins::*;

use crate::support::*;

#[test]
fn prebuilt_plugins_start_and_see_a_request() {
    let Some(folder) = std::env::var_os("HIGRESS_PLUGINS").map(PathBuf::from) else {
        eprintln!("skipped: HIGRESS_PLUGINS names no folder of modules");
        return;
    };
    let mut modules = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "wasm")
            {
                modules.push(path);
            }
        }
    }
    modules.sort();
    let mut started = 0;
    let mut report = String::new();
    for path in &modules {
        let pop = Pop::with(|options| options.pool.memory = 256 << 20);
        let result = match pop.host.compile(&std::fs::read(path).unwrap()) {
            Err(error) => Err(error.to_string()),
            Ok(module) => {
                let mut spec = PluginSpec::new("plugin");
                spec.configuration = "{}".into();
                spec.limits.memory = 256 << 20;
                spec.limits.start = Duration::from_secs(20);
                spec.limits.callback = Duration::from_secs(2);
                pop.host
                    .plugin("site", &module, &spec)
                    .map_err(|error| error.to_string())
                    .map(|plugin| {
                        let mut stream = pop.stream(&[&plugin]);
                        let flow = stream.head(Direction::Request, request(), true);
                        // A refused configuration is the plugin's right; a crash on a plain request is not.
                        assert!(
                            stream.failures().is_empty(),
                            "{}: {:?}",
                            path.display(),
                            stream.failures()
                        );
                        started += 1;
                        format!("{flow:?}").chars().take(60).collect::<String>()
                    })
            }
        };
        let lines = pop.lines();
        report.push_str(&format!(
            "{}: {result:?} {:?}\n",
            path.display(),
            lines.last()
        ));
    }
    eprintln!("{report}");
    assert!(started > 0, "none of {} started:\n{report}", modules.len());
}
