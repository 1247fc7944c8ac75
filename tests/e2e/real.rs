//! Real screws, where they are: `../shared/data/screw` beside the repository, or NEJI_SCREWS.

use std::path::PathBuf;

use neji_tests::{blob, root};

#[test]
fn real_screws_are_found_better_than_by_chance() {
    let folder = std::env::var_os("NEJI_SCREWS").map_or_else(|| root().join("../shared/data/screw"), PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: no real screws at {}", folder.display());
        return;
    }
    let toml = std::fs::read_to_string(root().join("configs/screw.toml")).expect("the experiment");
    let (_, summary) = blob(&toml, &folder).expect("a blob");
    let (float, int8) = (summary.auroc_float.expect("measured"), summary.auroc_quantized.expect("measured"));
    println!("real screws: AUROC float {float:.4}, int8 {int8:.4}");
    assert!(int8 > 0.9, "{int8}");
    assert!((float - int8).abs() < 0.02, "float {float}, int8 {int8}");
}
