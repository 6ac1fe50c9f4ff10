//! This implementation against traces of the reference programs. `HRM_DEVICE` names another device than flex.

use burn::tensor::Device;
use hrm_train::conformance::{Tolerances, Trace};

fn matches_the_reference(bytes: &[u8], device: &Device) {
    let trace = Trace::read(bytes).unwrap();
    let tolerances = Tolerances::f32(trace.train_config().unwrap().model.mixer);
    let comparisons = trace.compare(&tolerances, device).unwrap();
    for row in &comparisons {
        println!(
            "{:<45} {:>10.2e} of {:>8.0e} {}",
            row.quantity, row.largest_error, row.tolerance, row.note
        );
    }
    assert!(comparisons.len() >= 12, "every quantity is compared");
    let failed: Vec<_> = comparisons.iter().filter(|row| !row.passed()).collect();
    assert!(failed.is_empty(), "beyond the tolerance: {failed:#?}");
}

macro_rules! parity {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            let bytes = include_bytes!(concat!("fixtures/", stringify!($name), ".safetensors"));
            matches_the_reference(bytes, &Device::flex());
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
