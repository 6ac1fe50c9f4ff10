//! Attention that keeps no scores: training at twice the length takes about twice the memory, not four times.

use burn::tensor::{Device, Distribution, Tensor};
use hrm_core::ops::{self, RopeTable};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

type Attention = fn(Tensor<3>, usize, Option<&RopeTable>) -> Tensor<3>;

/// Bytes at the peak of a forward and a backward pass, above those of before.
fn training_peak(attention: Attention, len: usize) -> usize {
    let device = Device::flex();
    let (heads, head_dim) = (4, 32);
    let rope = RopeTable::new(len, head_dim, 10_000.0, &device);
    let shape = [1, len, 3 * heads * head_dim];
    let qkv = Tensor::<3>::random(shape, Distribution::Default, &device.autodiff()).require_grad();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let grads = attention(qkv.clone(), heads, Some(&rope)).sum().backward();
    assert!(qkv.grad(&grads).is_some());
    MEMORY.peak_usage() - before
}

/// The peaks at 450 and at 900 cells.
fn peaks(attention: Attention) -> (usize, usize) {
    // One thread: whether the working memory of several overlaps is chance.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let peak = |len| pool.install(|| training_peak(attention, len));
    peak(900); // What is made once: packing buffers.
    (peak(450), peak(900))
}

// One test: the allocator counts for the whole process.
#[test]
fn memory_of_attention_grows_with_the_length_and_not_its_square() {
    let mut kinds: Vec<(&str, Attention, usize)> =
        vec![("recomputed", ops::recomputed::attention, 20_000_000)];
    match std::env::var_os("HRM_FUSED").is_some_and(|value| value == "0") {
        true => eprintln!("skipped the fused one: HRM_FUSED=0 keeps the scores"),
        false => kinds.push(("fused", ops::attention, 5_000_000)),
    }
    for (name, attention, most) in kinds {
        let (shorter, longer) = peaks(attention);
        let ratio = longer as f64 / shorter as f64;
        println!("{name}: 450 cells: {shorter} bytes, 900 cells: {longer}, ratio {ratio:.2}");
        assert!(ratio <= 2.2, "{name}: ratio {ratio}");
        // One head's scores at 900 cells are 3.2 MB, all four 13 MB.
        assert!(longer < most, "{name}: 900 cells took {longer} bytes");
    }
    let (shorter, longer) = peaks(ops::composed::attention);
    println!("composed: 450 cells: {shorter} bytes, 900 cells: {longer}");
    assert!(
        longer > 3 * shorter,
        "the composed one keeps the scores: {shorter}, {longer}"
    );
}
