//! Reading torch checkpoints and safetensors files.

mod torch_file;

use std::path::{Path, PathBuf};

use hrm_core::store::{DType, StoreError, TensorFile};
use torch_file::{Pickle, Tensor, checkpoint, entries, f32_bytes, zip};

/// The folder of reference fixtures, or `None` (outside of CI) where `HRM_SHARED_DIR` is unset.
fn fixtures() -> Option<PathBuf> {
    match std::env::var_os("HRM_SHARED_DIR") {
        Some(dir) => Some(Path::new(&dir).join("fixtures")),
        None => {
            assert_ne!(
                std::env::var("CI").as_deref(),
                Ok("true"),
                "CI needs HRM_SHARED_DIR"
            );
            println!("skipped: HRM_SHARED_DIR is not set");
            None
        }
    }
}

fn open(bytes: Vec<u8>) -> Result<TensorFile, StoreError> {
    TensorFile::from_bytes(bytes, "test.pt")
}

fn open_error(bytes: Vec<u8>) -> String {
    open(bytes)
        .expect_err("a bad file must be refused")
        .to_string()
}

fn six() -> Vec<u8> {
    f32_bytes(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
}

#[test]
fn every_float_type_is_read_as_f32() {
    let tensors = [
        Tensor::whole("single", "FloatStorage", "0", &[2, 3]),
        Tensor::whole("double", "DoubleStorage", "1", &[2]),
        Tensor::whole("half", "HalfStorage", "2", &[2]),
        Tensor {
            parameter: true,
            ..Tensor::whole("brain", "BFloat16Storage", "3", &[2])
        },
        Tensor::whole("scalar", "FloatStorage", "4", &[]),
        Tensor::whole("ids", "LongStorage", "5", &[2]),
    ];
    let storages = [
        ("0", six()),
        (
            "1",
            [1.5f64, -2.0]
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect(),
        ),
        ("2", vec![0x00, 0x3c, 0x00, 0xc0]),
        ("3", vec![0x80, 0x3f, 0x00, 0xc0]),
        ("4", f32_bytes(&[7.0])),
        (
            "5",
            [-100i64, 9].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
    ];
    let file = open(checkpoint(&tensors, &storages)).unwrap();
    assert_eq!(
        file.names().collect::<Vec<_>>(),
        ["brain", "double", "half", "ids", "scalar", "single"]
    );
    assert_eq!(file.info("single").unwrap().shape, [2, 3]);
    assert_eq!(file.info("brain").unwrap().dtype, DType::BF16);
    assert_eq!(
        file.read_f32("single").unwrap(),
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    );
    assert_eq!(file.read_f32("double").unwrap(), [1.5, -2.0]);
    assert_eq!(file.read_f32("half").unwrap(), [1.0, -2.0]);
    assert_eq!(file.read_f32("brain").unwrap(), [1.0, -2.0]);
    assert_eq!(file.read_f32("scalar").unwrap(), [7.0]);
    assert_eq!(file.read_i64("ids").unwrap(), [-100, 9]);
    assert!(matches!(
        file.read_f32("ids"),
        Err(StoreError::ElementType {
            found: DType::I64,
            ..
        })
    ));
    assert!(matches!(
        file.read_i64("half"),
        Err(StoreError::ElementType {
            found: DType::F16,
            ..
        })
    ));
    assert!(matches!(
        file.read_f32("absent"),
        Err(StoreError::NoSuchTensor { .. })
    ));
    let err = file.read_rows_f32("scalar", 0..1).unwrap_err().to_string();
    assert!(err.contains("is a single number and has no rows"), "{err}");
}

#[test]
fn views_are_gathered() {
    let view = |name: &str, offset, shape: &[i64], strides: &[i64]| Tensor {
        numel: 6,
        offset,
        shape: shape.to_vec(),
        strides: strides.to_vec(),
        ..Tensor::whole(name, "FloatStorage", "0", &[6])
    };
    let tensors = [
        view("transposed", 0, &[3, 2], &[1, 3]),
        view("offset", 2, &[2, 2], &[2, 1]),
        view("column", 1, &[2, 1], &[3, 77]),
        view("empty", 6, &[0, 5], &[5, 1]),
        view("repeated", 5, &[4], &[0]),
    ];
    let file = open(checkpoint(&tensors, &[("0", six())])).unwrap();
    assert_eq!(
        file.read_f32("transposed").unwrap(),
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    );
    assert_eq!(file.read_f32("offset").unwrap(), [2.0, 3.0, 4.0, 5.0]);
    assert_eq!(file.read_f32("column").unwrap(), [1.0, 4.0]);
    assert_eq!(file.read_f32("empty").unwrap(), [0.0f32; 0]);
    assert_eq!(file.read_f32("repeated").unwrap(), [5.0; 4]);
    assert_eq!(
        file.read_rows_f32("transposed", 1..3).unwrap(),
        [1.0, 4.0, 2.0, 5.0]
    );
    assert_eq!(file.read_rows_f32("offset", 1..2).unwrap(), [4.0, 5.0]);
    assert_eq!(file.read_rows_f32("offset", 2..2).unwrap(), [0.0f32; 0]);
    let err = file.read_rows_f32("offset", 1..3).unwrap_err().to_string();
    assert!(err.contains("has 2 rows, asked for rows 1..3"), "{err}");
}

#[test]
fn non_finite_weights_are_found() {
    let tensors = [
        Tensor::whole("nan", "FloatStorage", "0", &[3]),
        Tensor::whole("fine", "FloatStorage", "1", &[1]),
    ];
    let storages = [
        ("0", f32_bytes(&[0.0, f32::INFINITY, f32::NAN])),
        ("1", f32_bytes(&[f32::MAX])),
    ];
    let file = open(checkpoint(&tensors, &storages)).unwrap();
    assert_eq!(file.first_non_finite("nan").unwrap(), Some(1));
    assert_eq!(file.first_non_finite("fine").unwrap(), None);
}

#[test]
fn long_tensors_are_read_in_pieces() {
    // 1.2 million bytes, in pieces of a MiB.
    let mut one: Vec<f32> = (0..300_000).map(|i| i as f32).collect();
    one[299_999] = f32::NAN;
    let mut two = one.clone();
    two[7] = f32::INFINITY;
    let tensors = [
        Tensor::whole("one", "FloatStorage", "0", &[300, 1000]),
        Tensor::whole("two", "FloatStorage", "1", &[300_000]),
    ];
    let storages = [("0", f32_bytes(&one)), ("1", f32_bytes(&two))];
    let file = open(checkpoint(&tensors, &storages)).unwrap();
    assert!(f32_bytes(&file.read_f32("one").unwrap()) == storages[0].1);
    let rows = file.read_rows_f32("one", 1..300).unwrap();
    assert!(f32_bytes(&rows) == storages[0].1[4000..]);
    assert_eq!(file.first_non_finite("one").unwrap(), Some(299_999));
    assert_eq!(file.first_non_finite("two").unwrap(), Some(7));
}

#[test]
fn nested_dictionaries_join_their_keys() {
    let mut pickle = Pickle::default();
    pickle
        .op(b"\x80\x02}(")
        .text("epoch")
        .int(3)
        .text("model")
        .op(b"}")
        .text("w");
    pickle
        .tensor(&Tensor::whole("w", "FloatStorage", "0", &[6]))
        .op(b"s")
        .text("list")
        .op(b"](");
    pickle
        .tensor(&Tensor::whole("x", "FloatStorage", "0", &[6]))
        .op(b"eu.");
    let file = open(zip(&entries(pickle.0, &[("0", six())]))).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["list.0", "model.w"]);
}

#[test]
fn of_equal_keys_the_last_counts() {
    let tensors = [
        Tensor::whole("w", "FloatStorage", "0", &[6]),
        Tensor::whole("w", "FloatStorage", "1", &[1]),
    ];
    let storages = [("0", six()), ("1", f32_bytes(&[7.0]))];
    let file = open(checkpoint(&tensors, &storages)).unwrap();
    assert_eq!(file.read_f32("w").unwrap(), [7.0]);
    // Nothing stays of what it takes the place of.
    let mut pickle = Pickle::default();
    pickle.op(b"\x80\x02}(").text("w").op(b"}").text("inner");
    pickle.tensor(&tensors[0]).op(b"s").text("w");
    pickle.tensor(&tensors[1]).op(b"u.");
    let file = open(zip(&entries(pickle.0, &storages))).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["w"]);
}

#[test]
fn tensors_that_lie_are_refused() {
    let lie = |change: fn(&mut Tensor)| {
        let mut tensor = Tensor::whole("w", "FloatStorage", "0", &[2, 3]);
        change(&mut tensor);
        let message = open_error(checkpoint(&[tensor], &[("0", six())]));
        assert!(message.starts_with("test.pt: "), "{message}");
        message
    };
    assert!(lie(|t| t.shape = vec![-1, 3]).contains("tensor `w`: has shape [-1, 3]"));
    assert!(lie(|t| t.shape = vec![i64::MAX, i64::MAX]).contains("more than the 6 elements"));
    assert!(lie(|t| t.shape = vec![1 << 40, 3]).contains("more than the 6 elements"));
    assert!(lie(|t| t.strides = vec![3, -1]).contains("strides [3, -1]"));
    assert!(
        lie(|t| t.strides = vec![i64::MAX, i64::MAX]).contains("reaches beyond the 6 elements")
    );
    assert!(lie(|t| t.strides = vec![1]).contains("strides [1]"));
    assert!(lie(|t| t.offset = 1).contains("reaches beyond the 6 elements"));
    assert!(lie(|t| t.offset = -1).contains("offset -1"));
    assert!(lie(|t| t.numel = 7).contains("should hold 7 F32 but has 24 bytes"));
    assert!(lie(|t| t.numel = -6).contains("should hold -6 F32"));
    assert!(lie(|t| t.numel = i64::MAX).contains("should hold"));
    assert!(lie(|t| t.key = "9".into()).contains("model/data/9 isn't in the archive"));
    assert!(lie(|t| t.shape = vec![1; 9]).contains("at most 8 dimensions"));
    assert!(lie(|t| t.class = "ComplexFloatStorage").contains("`torch.ComplexFloatStorage`"));
}

#[test]
fn pickles_that_would_run_code_are_refused_by_name() {
    let pickle = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.".to_vec();
    let message = open_error(zip(&entries(pickle, &[])));
    assert!(
        message.contains("byte 2: refers to `posix.system`"),
        "{message}"
    );
    assert!(
        message.contains("nothing in a pickle is executed"),
        "{message}"
    );
    let whole_model =
        b"\x80\x02cmodels.hrm.hrm_act_v1\nHierarchicalReasoningModel_ACTV1\n)\x81.".to_vec();
    assert!(
        open_error(zip(&entries(whole_model, &[]))).contains("models.hrm.hrm_act_v1.Hierarchical")
    );
}

#[test]
fn names_and_nesting_are_bounded() {
    // One long key, used in a dictionary that holds itself.
    let mut own = Pickle::default();
    own.op(b"}q\x00").text("k").op(b"h\x00s.");
    assert!(open_error(zip(&entries(own.0, &[]))).contains("16 dictionaries deep"));
    let mut doubling = Pickle::default();
    doubling.op(b"}q\x00");
    for level in 0u8..15 {
        doubling
            .op(b"}(")
            .text("a")
            .op(&[b'h', level])
            .text("b")
            .op(&[b'h', level])
            .text("c")
            .op(&[b'h', level]);
        doubling
            .text("d")
            .op(&[b'h', level])
            .op(&[b'u', b'q', level + 1]);
    }
    doubling.op(b".");
    assert!(open_error(zip(&entries(doubling.0, &[]))).contains("at most 65536 entries"));
    let mut long = Pickle::default();
    long.op(b"}").text(&"k".repeat(600)).op(b"K\x01s.");
    assert!(open_error(zip(&entries(long.0, &[]))).contains("keys of at most 512 bytes"));
}

#[test]
fn archives_that_are_not_torchs_are_refused() {
    let other = zip(&[("word/document.xml".into(), b"<xml/>".to_vec())]);
    assert!(open_error(other).contains(
        "found a zip archive without data.pkl, which isn't torch's (1 entries: word/document.xml)"
    ));
    let good = checkpoint(
        &[Tensor::whole("w", "FloatStorage", "0", &[6])],
        &[("0", six())],
    );
    for len in [10, good.len() / 2, good.len() - 1] {
        assert!(
            open_error(good[..len].to_vec()).contains("cut off"),
            "cut at {len}"
        );
    }
    let mut big = entries(Pickle::state_dict(&[]), &[]);
    big[1].1 = b"big".to_vec();
    assert!(open_error(zip(&big)).contains("expected byte order `little`, found `big`"));
    let mut twice = entries(Pickle::state_dict(&[]), &[("0", six()), ("0", six())]);
    assert!(open_error(zip(&twice)).contains("appears twice"));
    twice.truncate(2);
    twice.push(("other/data.pkl".into(), vec![]));
    assert!(open_error(zip(&twice)).contains("2 entries named data.pkl"));
}

#[test]
fn damaged_bytes_are_told_by_their_checksum() {
    let good = checkpoint(
        &[Tensor::whole("w", "FloatStorage", "0", &[6])],
        &[("0", six())],
    );
    let at = good.windows(24).position(|window| window == six()).unwrap();
    let mut bad = good.clone();
    bad[at + 9] ^= 4;
    let message = open(bad).unwrap().read_f32("w").unwrap_err().to_string();
    assert!(message.contains("data/0: checksum"), "{message}");
    let at = good
        .windows(7)
        .position(|window| window == b"storage")
        .unwrap();
    let mut bad = good.clone();
    bad[at] = b'S';
    assert!(open_error(bad).contains("model/data.pkl: checksum"));
}

#[test]
fn damaged_bytes_are_told_of_parts_and_views_too() {
    let view = |name: &str, key: &str, offset, shape: &[i64], strides: &[i64]| Tensor {
        numel: 6,
        offset,
        shape: shape.to_vec(),
        strides: strides.to_vec(),
        ..Tensor::whole(name, "FloatStorage", key, &[6])
    };
    let tensors = [
        view("whole", "0", 0, &[3, 2], &[2, 1]),
        view("transposed", "0", 0, &[3, 2], &[1, 3]),
        view("start", "0", 0, &[2], &[1]),
        view("end", "0", 4, &[2], &[1]),
        view("other", "1", 4, &[2], &[1]),
    ];
    let mut bytes = checkpoint(&tensors, &[("0", six()), ("1", six())]);
    let at = bytes
        .windows(24)
        .position(|window| window == six())
        .unwrap();
    bytes[at + 9] ^= 4;
    let file = open(bytes).unwrap();
    for _ in 0..2 {
        for name in ["whole", "transposed", "start", "end"] {
            for found in [
                file.read_f32(name).map(drop),
                file.read_rows_f32(name, 0..1).map(drop),
                file.first_non_finite(name).map(drop),
            ] {
                let message = found.unwrap_err().to_string();
                assert!(message.contains("data/0: checksum"), "{name}: {message}");
            }
        }
        assert_eq!(file.read_f32("other").unwrap(), [4.0, 5.0]);
        assert_eq!(file.read_rows_f32("other", 1..2).unwrap(), [5.0]);
    }
}

fn safetensors_file(header: &str, data: &[u8]) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat()
}

#[test]
fn safetensors_are_read_and_checked() {
    let header = r#"{"__metadata__":{"config":"{}"},"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]},"b":{"dtype":"I32","shape":[1],"data_offsets":[8,12]}}"#;
    let data = [
        0x80, 0x3f, 0, 0x40, 0x40, 0x40, 0x80, 0x40, 0xfe, 0xff, 0xff, 0xff,
    ];
    let file = open(safetensors_file(header, &data)).unwrap();
    assert_eq!(file.read_f32("a").unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(file.read_rows_f32("a", 1..2).unwrap(), [3.0, 4.0]);
    assert_eq!(file.read_i64("b").unwrap(), [-2]);
    assert_eq!(
        file.metadata().get("config").map(String::as_str),
        Some("{}")
    );

    assert!(
        open_error(safetensors_file(header, &data[..11]))
            .contains("speaks of 12 bytes of tensors, 11 follow")
    );
    let bad = |from: &str, to: &str| open_error(safetensors_file(&header.replace(from, to), &data));
    assert!(bad("[2,2]", "[2,3]").contains("damaged safetensors header"));
    assert!(bad("[2,2]", "[-2,2]").contains("damaged safetensors header"));
    assert!(
        bad("[2,2]", "[18446744073709551615,18446744073709551615]")
            .contains("damaged safetensors header")
    );
    assert!(bad("[0,8]", "[0,7]").contains("damaged safetensors header"));
    assert!(bad("\"I32\"", "\"U32\"").contains("tensor `b`"));
    assert!(bad("\"I32\"", "\"Q32\"").contains("damaged safetensors header"));
}

#[test]
fn final_weights_of_the_reference_programs_equal_those_in_the_traces() {
    let Some(dir) = fixtures() else { return };
    let mut compared = 0;
    for name in [
        "hrm_rope",
        "hrm_learned",
        "hrm_wide_puzzle",
        "hrm_no_puzzle",
        "trm_attention",
        "trm_mlp",
    ] {
        let torch = TensorFile::open(dir.join(format!("reference/{name}.final.pt"))).unwrap();
        let trace = TensorFile::open(dir.join(format!("reference/{name}.safetensors"))).unwrap();
        for key in torch.names() {
            let short = key.strip_prefix("_orig_mod.model.").unwrap();
            let (a, b) = (
                torch.read_f32(key).unwrap(),
                trace.read_f32(&format!("final/{short}")).unwrap(),
            );
            assert!(
                a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()) && a.len() == b.len(),
                "{name}: {key}"
            );
            compared += 1;
        }
    }
    assert!(compared > 80, "{compared}");
}

#[test]
fn a_checkpoint_made_by_others_is_read() {
    let Some(dir) = fixtures() else { return };
    let file = TensorFile::open(dir.join("interop/hrm_tiny_h64_torch.pth")).unwrap();
    assert_eq!(file.names().count(), 15);
    assert_eq!(file.info("inner.H_init").unwrap().shape, [64]);
    for name in file.names() {
        assert_eq!(file.first_non_finite(name).unwrap(), None, "{name}");
    }
}
