//! This implementation against traces of the reference programs, on the device that `HRM_DEVICE` names: flex, or any GPU whose
//! feature is built in.
//!
//!     HRM_DEVICE=cuda:0 cargo test -p hrm --features cuda --test parity -- --nocapture

use std::path::Path;

use hrm::device;
use hrm::train::conformance::{Tolerances, Trace};

#[track_caller]
fn matches_the_reference(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../hrm-train/tests/fixtures")
        .join(name)
        .with_extension("safetensors");
    let bytes = std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let trace = Trace::read(&bytes).unwrap();
    let device = device::from_env().unwrap();
    let mixer = trace.train_config().unwrap().model.mixer;
    let tolerances = match device::is_flex(&device) {
        true => Tolerances::f32(mixer),
        false => Tolerances::f32_gpu(mixer),
    };
    let comparisons = trace.compare(&tolerances, &device).unwrap();
    // One piece, since the tests run beside each other.
    let mut table = format!("{name} on {device:?}, largest errors:\n");
    for row in &comparisons {
        table += &format!(
            "  {:<45} {:>8.1e} of {:>6.0e}  {}\n",
            row.quantity, row.largest_error, row.tolerance, row.note
        );
    }
    println!("{table}");
    assert!(comparisons.len() >= 12, "every quantity is compared");
    let failed: Vec<_> = comparisons.iter().filter(|row| !row.passed()).collect();
    assert!(failed.is_empty(), "beyond the tolerance: {failed:#?}");
}

macro_rules! parity {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            matches_the_reference(stringify!($name));
        }
    )*};
}

parity!(
    hrm_rope,
    hrm_learned,
    hrm_wide_puzzle,
    hrm_no_puzzle,
    trm_attention,
    trm_mlp
);
