//! The fused attention keeps no scores: training at twice the length takes about twice the memory, not four times.

use burn::tensor::{Device, Distribution, Tensor};
use hrm_core::ops::{self, RopeTable};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes at the peak of a forward and a backward pass, above those of before.
fn training_peak(len: usize) -> usize {
    let device = Device::flex();
    let (heads, head_dim) = (4, 32);
    let rope = RopeTable::new(len, head_dim, 10_000.0, &device);
    let shape = [1, len, 3 * heads * head_dim];
    let qkv = Tensor::<3>::random(shape, Distribution::Default, &device.autodiff()).require_grad();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let grads = ops::attention(qkv.clone(), heads, Some(&rope))
        .sum()
        .backward();
    assert!(qkv.grad(&grads).is_some());
    MEMORY.peak_usage() - before
}

#[test]
fn memory_of_attention_grows_with_the_length_and_not_its_square() {
    if std::env::var_os("HRM_FUSED").is_some_and(|value| value == "0") {
        eprintln!("skipped: HRM_FUSED=0 keeps the scores");
        return;
    }
    // One thread: whether the working memory of several overlaps is chance.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let peak = |len| pool.install(|| training_peak(len));
    peak(900); // What is made once: packing buffers.
    let (shorter, longer) = (peak(450), peak(900));
    let ratio = longer as f64 / shorter as f64;
    assert!(
        ratio <= 2.2,
        "450 cells: {shorter} bytes, 900 cells: {longer}, ratio {ratio}"
    );
    // One head's scores at 900 cells are 3.2 MB, all four 13 MB.
    assert!(longer < 5_000_000, "900 cells took {longer} bytes");
    println!("450 cells: {shorter} bytes, 900 cells: {longer}, ratio {ratio:.2}");
}
