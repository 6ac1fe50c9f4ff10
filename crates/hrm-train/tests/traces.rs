//! Traces of the reference programs that are damaged or changed. That whole ones are met is tested in `crates/hrm`, on any
//! device.

use burn::tensor::Device;
use hrm_train::conformance::{Tolerances, Trace, TraceError};
use safetensors::tensor::{SafeTensors, TensorView};

/// A trace whose tensors are changed by `change`, and whose configuration has `from` replaced by `to`.
fn damaged(
    change: impl Fn(&str, &mut Vec<u8>) -> bool,
    (from, to): (&str, &str),
) -> Result<(), TraceError> {
    let bytes = include_bytes!("fixtures/hrm_learned.safetensors");
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let metadata = header.metadata().clone().unwrap().into_iter();
    let metadata = metadata
        .map(|(key, value)| (key, value.replace(from, to)))
        .collect();
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut kept = Vec::new();
    for (name, view) in file.iter() {
        let mut data = view.data().to_vec();
        if change(name, &mut data) {
            kept.push((name.to_owned(), view.dtype(), view.shape().to_vec(), data));
        }
    }
    let views = kept.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.clone(), data).unwrap();
        (name, view)
    });
    let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
    let trace = Trace::read(&bytes)?;
    let tolerances = Tolerances::f32(trace.train_config()?.model.mixer);
    trace.compare(&tolerances, &Device::flex()).map(drop)
}

#[test]
fn what_is_wrong_with_a_trace_is_named() {
    let refused = |result: Result<(), TraceError>, words: &[&str]| {
        let said = result.unwrap_err().to_string();
        for word in words {
            assert!(said.contains(word), "{word:?} is not in {said:?}");
        }
    };
    let same = ("", "");
    let without = |gone: &'static str| damaged(move |name, _| name != gone, same);
    for gone in [
        "weights/inner.q_head.bias",
        "infer/segment2/logits",
        "train/step4/halted",
        "train/step1/grad/inner.lm_head.weight",
        "train/lm_loss",
        "ema/inner.q_head.bias",
    ] {
        refused(without(gone), &[gone, "nothing"]);
    }
    let first = |changed: &'static str, value: i32| {
        let change = move |name: &str, data: &mut Vec<u8>| {
            if name == changed {
                data[..4].copy_from_slice(&value.to_le_bytes());
            }
            true
        };
        damaged(change, same)
    };
    refused(
        first("infer/batch/inputs", 9999),
        &["infer/batch/inputs", "found 9999"],
    );
    refused(first("infer/batch/inputs", -100), &["found -100"]);
    refused(
        first("train/step2/batch/labels", -1),
        &["step2/batch/labels", "or -100", "found -1"],
    );
    refused(
        first("train/step3/batch/puzzle_identifiers", 9999),
        &["step3/batch/puzzle_identifiers", "found 9999"],
    );
    let config = |from, to| damaged(|_, _| true, (from, to));
    // Sizes that the tensors don't have ask for no memory.
    refused(
        config("\"vocab_size\": ", "\"vocab_size\": 10"),
        &["lm_head.weight"],
    );
    refused(
        config("\"L_layers\": ", "\"L_layers\": 10"),
        &["L_level.layers."],
    );
    refused(
        config("\"batch_size\": ", "\"batch_size\": 1000000000000"),
        &["infer/segment0/z_H"],
    );
    refused(
        config("\"batch_size\": ", "\"batch_size\": 0, \"x\": "),
        &["batch_size", "at least 1"],
    );
    refused(
        config("\"learned\"", "\"circular\""),
        &["pos_encodings", "`circular`"],
    );
    refused(config("\"lr\"", "\"rate\""), &["optimizer", "lr"]);
    config("", "").unwrap();
    // No training steps: inference alone is asked for.
    damaged(
        |name, _| !name.starts_with("train/"),
        ("\"train_steps\": 6", "\"train_steps\": 0"),
    )
    .unwrap();
}

#[test]
fn a_changed_weight_is_an_error_beyond_its_tolerance() {
    let mut bytes = include_bytes!("fixtures/hrm_learned.safetensors").to_vec();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let info = metadata.info("weights/inner.lm_head.weight").unwrap();
    let at = 8 + header + info.data_offsets.0;
    let value = f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    bytes[at..at + 4].copy_from_slice(&(value + 0.01).to_le_bytes());
    let trace = Trace::read(&bytes).unwrap();
    let tolerances = Tolerances::f32(trace.train_config().unwrap().model.mixer);
    let rows = trace.compare(&tolerances, &Device::flex()).unwrap();
    let failed: Vec<_> = rows
        .iter()
        .filter(|row| !row.passed())
        .map(|row| row.quantity.as_str())
        .collect();
    assert!(failed.contains(&"inference logits"), "{failed:?}");
    assert!(!failed.contains(&"inference z_H"), "{failed:?}");
}
