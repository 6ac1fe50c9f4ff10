//! Mutated checkpoints: whatever a file says, reading it gives tensors or an error, soon and within bounded memory.
//!
//! `HRM_FUZZ_INPUTS` sets the number of inputs (3,000 by default), `HRM_FUZZ_SEED` the seed (0 by default). Most mutations
//! are made below the container, which is then written anew with right lengths and checksums, so that they reach the parts
//! that interpret; the test fails where fewer than half get there.

mod torch_file;

use burn::tensor::Device;
use hrm_core::store::{ConfigHints, ImportOptions, StoreError, TensorFile, export_bytes, inspect};
use hrm_core::{Hrm, HrmConfig, PuzzleEmbeddingConfig, Sizes};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::cell::Cell;
use torch_file::{Pickle, Tensor, entries, f32_bytes, zip};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// A valid file in parts.
#[derive(Clone, Debug)]
enum Base {
    /// Zip entries; the first is `data.pkl`.
    Torch(Vec<(String, Vec<u8>)>),
    /// JSON header and data.
    Safetensors(Vec<u8>, Vec<u8>),
}

/// Which part is mutated.
#[derive(Clone, Copy, Debug)]
enum Layer {
    /// The pickle, the JSON header.
    Description,
    /// Numbers and types in it, so that it stays well-formed.
    Values,
    /// The bytes of the tensors.
    Data,
    /// Any byte of the file.
    Container,
}

/// A change at a place, which is taken modulo the length.
#[derive(Clone, Debug)]
enum Edit {
    Set(usize, u8),
    Flip(usize, u8),
    Number(usize, u64, usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize, usize),
    Swap(usize, usize, usize),
    Cut(usize),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        if len == 0 {
            return;
        }
        match self {
            Self::Set(at, value) => bytes[at % len] = *value,
            Self::Flip(at, bit) => bytes[at % len] ^= 1 << (bit % 8),
            Self::Number(at, value, width) => {
                let at = at % len;
                let width = (*width).min(len - at);
                bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            Self::Insert(at, new) => {
                let at = at % len;
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = at % len;
                bytes.drain(at..(at + count).min(len));
            }
            Self::Repeat(at, count, times) => {
                let at = at % len;
                let part = bytes[at..(at + count).min(len)].repeat(*times);
                bytes.splice(at..at, part);
            }
            Self::Swap(a, b, count) => {
                let (a, b) = (a % len, b % len);
                let count = (*count).min(len - a.max(b));
                (0..count).for_each(|i| bytes.swap(a + i, b + i));
            }
            Self::Cut(at) => bytes.truncate(at % len),
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<usize>();
    let opcode = prop::sample::select(&b"\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x90\x92\x93\x94\x95().012BCGJKMNQRTUX]abcdehijlqrstu}"[..]);
    let numbers: &[u64] = &[
        0,
        1,
        7,
        8,
        0x7f,
        0x80,
        0xff,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 40,
        u64::MAX >> 1,
        1 << 63,
        u64::MAX,
    ];
    prop_oneof![
        3 => (at, opcode).prop_map(|(at, op)| Edit::Set(at, op)),
        2 => (at, any::<u8>()).prop_map(|(at, value)| Edit::Set(at, value)),
        2 => (at, any::<u8>()).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        3 => (at, prop::sample::select(numbers), prop::sample::select(&[1usize, 2, 4, 8][..])).prop_map(|(at, v, w)| Edit::Number(at, v, w)),
        1 => (at, prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(at, new)| Edit::Insert(at, new)),
        1 => (at, 1usize..12).prop_map(|(at, count)| Edit::Remove(at, count)),
        1 => (at, 1usize..40, 1usize..20).prop_map(|(at, count, times)| Edit::Repeat(at, count, times)),
        1 => (at, at, 1usize..40).prop_map(|(a, b, count)| Edit::Swap(a, b, count)),
        1 => at.prop_map(Edit::Cut),
    ]
}

/// Replaces whole numbers and names of types: of a pickle the operands of `J` and the classes, of JSON what stands for them.
fn change_values(bytes: &mut Vec<u8>, edits: &[Edit]) {
    for edit in edits {
        let (at, choice) = match edit {
            Edit::Number(at, value, width) => (*at, *value as usize ^ width),
            Edit::Set(at, value) | Edit::Flip(at, value) => (*at, usize::from(*value)),
            Edit::Swap(at, value, _) | Edit::Remove(at, value) | Edit::Repeat(at, value, _) => {
                (*at, *value)
            }
            Edit::Insert(at, new) => (*at, new.len()),
            Edit::Cut(at) => (*at, at >> 3),
        };
        if bytes.first() == Some(&0x80) {
            let places: Vec<usize> = (0..bytes.len().saturating_sub(5))
                .filter(|&i| bytes[i] == b'J')
                .collect();
            let Some(&place) = places.get(at % places.len().max(1)) else {
                continue;
            };
            let wide: &[i64] = &[
                -1,
                0,
                1,
                2,
                3,
                5,
                6,
                7,
                1 << 31,
                1 << 40,
                i64::MAX,
                i64::MIN,
                i64::MAX / 4,
            ];
            let mut new = b"\x8a\x08".to_vec();
            new.extend(wide[choice % wide.len()].to_le_bytes());
            bytes.splice(place..place + 5, new);
        } else {
            let digits: Vec<usize> = (1..bytes.len())
                .filter(|&i| bytes[i].is_ascii_digit() && b"[,".contains(&bytes[i - 1]))
                .collect();
            let Some(&place) = digits.get(at % digits.len().max(1)) else {
                continue;
            };
            let end = (place..bytes.len())
                .find(|&i| !bytes[i].is_ascii_digit())
                .unwrap_or(bytes.len());
            let texts = [
                "0",
                "1",
                "2",
                "3",
                "16",
                "4294967295",
                "18446744073709551615",
                "18446744073709551616",
                "-1",
                "1e9",
                "0.5",
                "null",
            ];
            bytes.splice(place..end, texts[choice % texts.len()].bytes());
        }
    }
}

fn safetensors(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

fn mutate(base: &Base, layer: Layer, edits: &[Edit]) -> Vec<u8> {
    let apply = |bytes: &mut Vec<u8>| edits.iter().for_each(|edit| edit.apply(bytes));
    let mut base = base.clone();
    match (&mut base, layer) {
        (_, Layer::Container) => {}
        (Base::Torch(entries), Layer::Description) => apply(&mut entries[0].1),
        (Base::Torch(entries), Layer::Values) => change_values(&mut entries[0].1, edits),
        (Base::Torch(entries), Layer::Data) => {
            let last = entries.len() - 2;
            apply(&mut entries[last].1);
        }
        (Base::Safetensors(header, _), Layer::Description) => apply(header),
        (Base::Safetensors(header, _), Layer::Values) => change_values(header, edits),
        (Base::Safetensors(_, data), Layer::Data) => apply(data),
    }
    let mut file = match &base {
        Base::Torch(entries) => zip(entries),
        Base::Safetensors(header, data) => safetensors(header, data),
    };
    if let Layer::Container = layer {
        apply(&mut file);
    }
    file
}

/// Reads everything there is. True where the container or header was accepted.
fn read_all(bytes: Vec<u8>) -> bool {
    let file = match TensorFile::from_bytes(bytes, "mutated") {
        Ok(file) => file,
        Err(err) => {
            assert!(err.to_string().len() < 4096, "{err}");
            return !matches!(
                err,
                StoreError::NotACheckpoint { .. }
                    | StoreError::Container { .. }
                    | StoreError::Read { .. }
            );
        }
    };
    let hints = ConfigHints {
        num_heads: Some(2),
        h_cycles: Some(2),
        l_cycles: Some(2),
        max_segments: Some(4),
        ..ConfigHints::default()
    };
    let options = ImportOptions {
        hints,
        ..ImportOptions::default()
    };
    if let Ok((config, _)) = inspect(&file, &options) {
        config.validate().unwrap();
    }
    for name in file.names() {
        let info = file.info(name).unwrap();
        let count = match info.dtype.is_float() {
            true => file.read_f32(name).map(|values| values.len()),
            false => file.read_i64(name).map(|values| values.len()),
        };
        match count {
            Ok(count) => assert_eq!(count, info.num_elements()),
            Err(err) => assert!(matches!(err, StoreError::Checksum { .. }), "{err}"),
        }
        if let Some(&rows) = info.shape.first()
            && let Ok(values) = file.read_rows_f32(name, rows / 2..rows)
        {
            assert_eq!(
                values.len(),
                info.num_elements() / rows.max(1) * (rows - rows / 2)
            );
        }
        let _ = file.first_non_finite(name);
    }
    true
}

fn bases() -> Vec<Base> {
    let parameter = |name: &str, key: &str, shape: &[i64]| Tensor {
        parameter: true,
        ..Tensor::whole(name, "FloatStorage", key, shape)
    };
    let values: Vec<f32> = (0..24).map(|i| i as f32 * 0.5 - 3.0).collect();
    let transposed = Tensor {
        strides: vec![1, 6],
        shape: vec![6, 4],
        ..Tensor::whole("model.inner.lm_head.weight", "FloatStorage", "1", &[24])
    };
    let state = Pickle::state_dict(&[
        parameter("model.inner.embed_tokens.embedding_weight", "0", &[4, 6]),
        transposed,
        Tensor::whole("model.inner.H_init", "BFloat16Storage", "2", &[6]),
        Tensor::whole("model.inner.steps", "LongStorage", "3", &[]),
    ]);
    let storages = [
        ("0", f32_bytes(&values)),
        ("1", f32_bytes(&values)),
        ("2", [0x80, 0x3f].repeat(6)),
        ("3", 5i64.to_le_bytes().to_vec()),
    ];
    // Protocol 4: frames, short texts, globals by stack.
    let mut newer = b"\x80\x04\x95\x40\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x05model\x94}\x94\x8c\x01w\x94\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94((\x8c\x07storage\x94\x8c\x05torch\x94\x8c\x0cFloatStorage\x94\x93\x94\x8c\x010\x94\x8c\x03cpu\x94K\x18t\x94QK\x00K\x04K\x06\x86\x94K\x06K\x01\x86\x94\x89\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94t\x94R\x94s\x8c\x05epoch\x94J".to_vec();
    newer.extend(b"\x03\x00\x00\x00\x8c\x02lr\x94G\x3f\x1a\x36\xe2\xeb\x1c\x43\x2du.");
    let header = br#"{"__metadata__":{"config":"{\"seq_len\":16}"},"a":{"dtype":"F32","shape":[4,6],"data_offsets":[0,96]},"b":{"dtype":"BF16","shape":[6],"data_offsets":[96,108]},"c":{"dtype":"I64","shape":[],"data_offsets":[108,116]}}"#;
    let mut bases = vec![
        Base::Torch(entries(state, &storages)),
        Base::Torch(entries(newer, &storages)),
        Base::Safetensors(
            header.to_vec(),
            [f32_bytes(&values), [0x80, 0x3f].repeat(6), vec![1; 8]].concat(),
        ),
    ];
    bases.push(exported());
    if let Some(dir) = std::env::var_os("HRM_SHARED_DIR") {
        let fixtures = std::path::Path::new(&dir).join("fixtures");
        for name in [
            "reference/hrm_no_puzzle.final.pt",
            "interop/hrm_tiny_h64_torch.pth",
        ] {
            bases.push(shrunk(&std::fs::read(fixtures.join(name)).unwrap()));
        }
    } else {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI needs HRM_SHARED_DIR"
        );
        println!("HRM_SHARED_DIR is not set: only checkpoints made here are mutated");
    }
    bases
}

/// A small TRM, whose configuration is in the metadata.
fn exported() -> Base {
    let sizes = Sizes {
        seq_len: 9,
        vocab_size: 5,
        num_puzzle_ids: 3,
    };
    let config = HrmConfig {
        hidden_size: 4,
        num_heads: 1,
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 4,
            positions: Some(2),
        }),
        ..HrmConfig::trm_mlp(sizes)
    };
    let bytes = export_bytes(&Hrm::new(&config, 0, &Device::flex()).unwrap(), 4).unwrap();
    let len = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let (header, data) = bytes[8..].split_at(len);
    Base::Safetensors(header.to_vec(), data.to_vec())
}

/// The entries of a checkpoint, `data.pkl` first.
fn shrunk(file: &[u8]) -> Base {
    let archive = rawzip::ZipArchive::from_slice(file).unwrap();
    let mut found: Vec<(String, Vec<u8>)> = archive
        .entries()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = std::str::from_utf8(entry.file_path().as_bytes())
                .unwrap()
                .to_owned();
            (
                name,
                archive
                    .get_entry(entry.wayfinder())
                    .unwrap()
                    .data()
                    .to_vec(),
            )
        })
        .collect();
    found.sort_by_key(|(name, _)| !name.ends_with("/data.pkl"));
    Base::Torch(found)
}

#[test]
fn mutated_files_are_read_or_refused() {
    let setting = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap())
    };
    let inputs = setting("HRM_FUZZ_INPUTS", 3_000);
    let config = Config {
        cases: u32::try_from(inputs).unwrap(),
        rng_seed: RngSeed::Fixed(setting("HRM_FUZZ_SEED", 0)),
        failure_persistence: None,
        ..Config::default()
    };
    let bases = bases();
    for base in &bases {
        assert!(
            read_all(mutate(base, Layer::Container, &[])),
            "unchanged files are read"
        );
    }
    let layer = prop_oneof![
        5 => Just(Layer::Description),
        5 => Just(Layer::Values),
        1 => Just(Layer::Data),
        2 => Just(Layer::Container),
    ];
    // Whole models are a hundred times as large, so they are taken less often.
    let index = prop_oneof![8 => 0usize..2, 3 => Just(2usize), 2 => 3..bases.len()];
    let strategy = (index, layer, prop::collection::vec(edit(), 1..5));
    let (past, highest) = (Cell::new(0u64), Cell::new(0usize));
    TestRunner::new(config)
        .run(&strategy, |(index, layer, edits)| {
            let bytes = mutate(&bases[index], layer, &edits);
            let len = bytes.len();
            ALLOCATOR.reset_peak_usage();
            let before = ALLOCATOR.current_usage();
            past.set(past.get() + u64::from(read_all(bytes)));
            let used = ALLOCATOR.peak_usage().saturating_sub(before);
            highest.set(highest.get().max(used));
            prop_assert!(
                used < (1 << 20) + 64 * len,
                "a file of {len} bytes took {used} bytes"
            );
            Ok(())
        })
        .unwrap();
    let past = past.get();
    println!(
        "{inputs} inputs, {past} past the container or header, at most {} KiB of memory",
        highest.get() >> 10
    );
    assert!(
        past * 2 >= inputs,
        "only {past} of {inputs} inputs got past the container or header"
    );
}
