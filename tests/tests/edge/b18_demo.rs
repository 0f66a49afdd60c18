//! The first thing that anybody runs.

use anypop_tests::{command::run, edge::demo};

#[tokio::test(flavor = "multi_thread")]
async fn every_line_that_the_demo_prints_works() {
    let edge = demo().await;
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .map(str::trim)
            .filter(|line| line.starts_with("curl "))
            .map(str::to_owned)
            .collect()
    };
    let printed = edge.printed(|text| lines(text).len() >= 3).await;
    let lines = lines(&printed);
    assert!(
        lines.iter().any(|line| line.contains("https://")),
        "{printed}"
    );
    for line in &lines {
        let output = run("sh", ["-c", line], b"").await;
        assert_eq!(output.code, Some(0), "{line}: {}", output.all());
    }
}
