//! Models out of checkpoints, and back.

mod torch_file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor as BurnTensor, TensorData};
use hrm_core::store::{
    ConfigHints, ImportOptions, ImportWarning, StoreError, TensorFile, export, export_bytes,
    export_to, import, inspect,
};
use hrm_core::{
    ComputeType, GradientSpan, HaltHead, Hrm, HrmConfig, Levels, MixerKind, PositionKind,
    PuzzleEmbeddingConfig, PuzzleIds, Sizes,
};
use torch_file::{Tensor, checkpoint, f32_bytes};

const TRACES: [&str; 6] = [
    "hrm_rope",
    "hrm_learned",
    "hrm_wide_puzzle",
    "hrm_no_puzzle",
    "trm_attention",
    "trm_mlp",
];

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

fn device() -> Device {
    Device::flex()
}

const SIZES: Sizes = Sizes {
    seq_len: 9,
    vocab_size: 5,
    num_puzzle_ids: 4,
};

/// The configuration with width 16, and a puzzle row as long where it was that of the published models.
fn small(config: HrmConfig) -> HrmConfig {
    let puzzle_embedding = config.puzzle_embedding.map(|puzzle| PuzzleEmbeddingConfig {
        dim: if puzzle.dim == 512 { 16 } else { puzzle.dim },
        ..puzzle
    });
    HrmConfig {
        hidden_size: 16,
        num_heads: 2,
        puzzle_embedding,
        ..config
    }
}

fn variants() -> Vec<HrmConfig> {
    let table = |dim, positions| Some(PuzzleEmbeddingConfig { dim, positions });
    vec![
        small(HrmConfig::hrm(SIZES)),
        small(HrmConfig::trm(SIZES)),
        small(HrmConfig {
            halt_head: HaltHead::QLearning,
            ..HrmConfig::trm_mlp(SIZES)
        }),
        small(HrmConfig {
            position: PositionKind::Learned,
            puzzle_embedding: table(40, None),
            levels: Levels::Separate {
                h_layers: 1,
                l_layers: 3,
            },
            expansion: 32.0,
            ..HrmConfig::hrm(SIZES)
        }),
        small(HrmConfig {
            puzzle_embedding: None,
            num_puzzle_ids: 1,
            ..HrmConfig::hrm(SIZES)
        }),
        small(HrmConfig {
            puzzle_embedding: table(5, Some(2)),
            compute: ComputeType::Bf16,
            ..HrmConfig::hrm(SIZES)
        }),
    ]
}

/// Configurations that differ from the published ones in what no shape tells and no word of the reference programs.
fn own_variants() -> Vec<HrmConfig> {
    let table = |dim, positions| Some(PuzzleEmbeddingConfig { dim, positions });
    vec![
        small(HrmConfig {
            gradient: GradientSpan::LastCycle,
            puzzle_embedding: table(20, Some(2)),
            halt_head: HaltHead::HaltOnly,
            h_cycles: 3,
            l_cycles: 5,
            expansion: 7.5,
            compute: ComputeType::F16,
            ..HrmConfig::hrm(SIZES)
        }),
        small(HrmConfig {
            gradient: GradientSpan::LastUpdate,
            puzzle_embedding: table(20, None),
            position: PositionKind::Rope,
            ..HrmConfig::trm_mlp(SIZES)
        }),
        small(HrmConfig {
            gradient: GradientSpan::LastUpdate,
            puzzle_embedding: None,
            num_puzzle_ids: 1,
            ..HrmConfig::trm(SIZES)
        }),
    ]
}

/// A model with a puzzle table that isn't zero.
fn model(config: &HrmConfig) -> Hrm {
    let model = Hrm::new(config, 7, &device()).unwrap();
    let Some(puzzle) = config.puzzle_embedding else {
        return model;
    };
    let values: Vec<f32> = (0..config.num_puzzle_ids * puzzle.dim)
        .map(|i| (i as f32).sin())
        .collect();
    let table = TensorData::new(values, [config.num_puzzle_ids, puzzle.dim]);
    model.with_puzzle_table(BurnTensor::from_data(table, &device()))
}

/// Names, shapes and bits of all weights.
fn bits(model: &Hrm) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let bits = |value: BurnTensor<1>| value.to_data().iter::<f32>().map(f32::to_bits).collect();
    model
        .weights()
        .into_iter()
        .map(|weight| (weight.name, weight.shape, bits(weight.value)))
        .collect()
}

/// The weights of a model as a torch checkpoint, after `change`.
fn torch(model: &Hrm, prefix: &str, change: impl Fn(&mut Vec<(Tensor, Vec<u8>)>)) -> TensorFile {
    TensorFile::from_bytes(torch_bytes(model, prefix, change), "test.pt").unwrap()
}

fn torch_bytes(model: &Hrm, prefix: &str, change: impl Fn(&mut Vec<(Tensor, Vec<u8>)>)) -> Vec<u8> {
    let mut tensors: Vec<(Tensor, Vec<u8>)> = model
        .weights()
        .into_iter()
        .enumerate()
        .map(|(key, weight)| {
            let shape: Vec<i64> = weight.shape.iter().map(|&size| size as i64).collect();
            let values: Vec<f32> = weight.value.to_data().iter().collect();
            (
                Tensor::whole(
                    &format!("{prefix}{}", weight.name),
                    "FloatStorage",
                    &key.to_string(),
                    &shape,
                ),
                f32_bytes(&values),
            )
        })
        .collect();
    change(&mut tensors);
    let storages: Vec<(&str, Vec<u8>)> = tensors
        .iter()
        .map(|(tensor, bytes)| (tensor.key.as_str(), bytes.clone()))
        .collect();
    let descriptions: Vec<Tensor> = tensors.iter().map(|(tensor, _)| tensor.clone()).collect();
    checkpoint(&descriptions, &storages)
}

fn options(config: &HrmConfig) -> ImportOptions {
    ImportOptions {
        hints: ConfigHints::from_config(config, Some(16)),
        ..ImportOptions::default()
    }
}

#[test]
fn an_import_of_an_export_gives_the_same_bits_and_configuration() {
    for config in variants().into_iter().chain(own_variants()) {
        let model = model(&config);
        let file = TensorFile::from_bytes(export_bytes(&model, 12).unwrap(), "export").unwrap();
        assert!(file.names().all(|name| name.starts_with("model.inner.")));
        let imported = import(&file, &ImportOptions::default(), &device()).unwrap();
        assert_eq!(bits(&imported.model), bits(&model));
        assert_eq!(imported.model.config(), &config);
        assert_eq!(imported.max_segments, 12);
        assert_eq!(imported.warnings, []);
    }
}

#[test]
fn an_export_tells_the_reference_programs_its_configuration() {
    for config in variants() {
        let file =
            TensorFile::from_bytes(export_bytes(&model(&config), 12).unwrap(), "export").unwrap();
        let official = file.metadata().get("config").unwrap();
        // As a program that knows nothing of our configuration would see it.
        let hints = ConfigHints::from_official_json(official, "export").unwrap();
        let bare = torch(&model(&config), "", |_| {});
        let (found, max_segments) = inspect(
            &bare,
            &ImportOptions {
                hints,
                ..ImportOptions::default()
            },
        )
        .unwrap();
        assert_eq!(max_segments, 12);
        assert_eq!(found.puzzle_len(), config.puzzle_len());
        // The reference programs' words for the number type are those of a training run.
        let rest = HrmConfig {
            puzzle_embedding: config.puzzle_embedding,
            compute: config.compute,
            ..found
        };
        assert_eq!(rest, config);
    }
}

#[test]
fn an_export_tells_the_reference_programs_all_that_they_ask_for() {
    // The fields without a default of HierarchicalReasoningModel_ACTV1Config (HRM, models/hrm/hrm_act_v1.py) and of
    // TinyRecursiveReasoningModel_ACTV1Config (TRM, models/recursive_reasoning/trm.py), which are the same.
    const WHOLE: [&str; 11] = [
        "batch_size",
        "seq_len",
        "num_puzzle_identifiers",
        "vocab_size",
        "H_cycles",
        "L_cycles",
        "H_layers",
        "L_layers",
        "hidden_size",
        "num_heads",
        "halt_max_steps",
    ];
    for config in variants() {
        let bytes = export_bytes(&model(&config), 12).unwrap();
        let file = TensorFile::from_bytes(bytes, "export").unwrap();
        let text = file.metadata().get("config").unwrap();
        let official: serde_json::Value = serde_json::from_str(text).unwrap();
        for field in WHOLE {
            assert!(official[field].is_u64(), "{field}: {text}");
        }
        for field in ["expansion", "halt_exploration_prob"] {
            assert!(official[field].is_number(), "{field}: {text}");
        }
        assert!(official["pos_encodings"].is_string(), "{text}");
        // The default of both, bf16, would round the initial states.
        assert_eq!(official["forward_dtype"], "float32");
        // Those that TRM's class fills in by itself, and otherwise than our models may be.
        if matches!(config.levels, Levels::Shared { .. }) {
            assert!(official["mlp_t"].is_boolean(), "{text}");
            assert!(official["puzzle_emb_len"].is_u64(), "{text}");
            assert!(official["no_ACT_continue"].is_boolean(), "{text}");
        }
    }
}

#[test]
fn an_export_has_the_same_bytes_each_time() {
    let model = model(&small(HrmConfig::trm(SIZES)));
    let bytes = export_bytes(&model, 16).unwrap();
    for _ in 0..4 {
        assert!(export_bytes(&model, 16).unwrap() == bytes);
    }
    // It is one that the crate reads, which all programs share.
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), model.weights().len());
    let len = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    assert!(len.is_multiple_of(8));
}

#[test]
fn an_export_of_trm_says_how_many_positions_its_table_has() {
    let official = |config: &HrmConfig| {
        let bytes = export_bytes(&model(config), 12).unwrap();
        let file = TensorFile::from_bytes(bytes, "export").unwrap();
        let text = file.metadata().get("config").unwrap();
        let config: serde_json::Value = serde_json::from_str(text).unwrap();
        config["puzzle_emb_len"].as_u64()
    };
    let trm = |puzzle_embedding| HrmConfig {
        puzzle_embedding,
        ..small(HrmConfig::trm(SIZES))
    };
    let table = |positions| Some(PuzzleEmbeddingConfig { dim: 16, positions });
    assert_eq!(official(&trm(table(Some(3)))), Some(3));
    // Without the key the official program takes 16.
    assert_eq!(official(&trm(table(None))), Some(0));
    assert_eq!(official(&trm(None)), Some(0));
    assert_eq!(official(&small(HrmConfig::hrm(SIZES))), None);
}

#[test]
fn an_export_is_written_to_a_file_whole() {
    let dir = std::env::temp_dir().join(format!("hrm-export-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (path, model) = (
        dir.join("model.safetensors"),
        model(&small(HrmConfig::hrm(SIZES))),
    );
    // A user's file of the name that a file in the making might have.
    let other = dir.join("model.safetensors.tmp");
    std::fs::write(&other, "mine").unwrap();
    export(&model, 16, &path).unwrap();
    let imported = import(
        &TensorFile::open(&path).unwrap(),
        &ImportOptions::default(),
        &device(),
    )
    .unwrap();
    assert_eq!(bits(&imported.model), bits(&model));
    let err = export(&model, 16, dir.join("missing/model.safetensors")).unwrap_err();
    assert!(matches!(err, StoreError::Write { .. }));
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
    assert_eq!(
        std::fs::read_dir(&dir).unwrap().count(),
        2,
        "nothing is left behind"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_export_takes_more_metadata_but_not_for_its_own() {
    let path = std::env::temp_dir().join(format!("hrm-export-with-{}", std::process::id()));
    let model = model(&small(HrmConfig::hrm(SIZES)));
    let more = [("about", "x"), ("max_segments", "99")];
    let more = BTreeMap::from(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
    export_to(
        &model,
        16,
        &more,
        &mut std::fs::File::create(&path).unwrap(),
    )
    .unwrap();
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.metadata()["about"], "x");
    let (_, max_segments) = inspect(&file, &ImportOptions::default()).unwrap();
    assert_eq!(max_segments, 16);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_the_metadata_of_a_file_tell_is_not_told_differently() {
    for config in variants() {
        let bytes = export_bytes(&model(&config), 12).unwrap();
        let file = TensorFile::from_bytes(bytes, "export").unwrap();
        let found = |hints| {
            let options = ImportOptions {
                hints,
                ..ImportOptions::default()
            };
            inspect(&file, &options)
        };
        let (heads, cycles) = (config.num_heads, config.h_cycles);
        let message = found(ConfigHints {
            num_heads: Some(2 * heads),
            h_cycles: Some(cycles + 1),
            ..ConfigHints::default()
        });
        let message = message.unwrap_err().to_string();
        for part in [
            format!(
                "num_heads is {heads} by the file's metadata, given {}",
                2 * heads
            ),
            format!(
                "h_cycles is {cycles} by the file's metadata, given {}",
                cycles + 1
            ),
        ] {
            assert!(message.contains(&part), "{message}");
        }
        // The same in other words, and what is a matter of choice.
        let same = ConfigHints {
            puzzle_positions: config.puzzle_embedding.map(|_| config.puzzle_len()),
            max_segments: Some(9),
            compute: Some(ComputeType::Bf16),
            ..ConfigHints::from_config(&config, None)
        };
        let (given, max_segments) = found(same).unwrap();
        assert_eq!(max_segments, 9);
        assert_eq!(given.compute, ComputeType::Bf16);
        assert_eq!(given.puzzle_len(), config.puzzle_len());
        // A recipe counts only where the file tells nothing.
        let options = ImportOptions {
            defaults: ConfigHints {
                num_heads: Some(2 * heads),
                ..ConfigHints::default()
            },
            ..ImportOptions::default()
        };
        assert_eq!(inspect(&file, &options).unwrap().0, config);
    }
}

#[test]
fn all_that_the_metadata_of_a_file_tell_is_compared() {
    let refused = |config: HrmConfig, hints| {
        let bytes = export_bytes(&model(&config), 12).unwrap();
        let file = TensorFile::from_bytes(bytes, "export").unwrap();
        let options = ImportOptions {
            hints,
            ..ImportOptions::default()
        };
        match inspect(&file, &options).unwrap_err() {
            StoreError::Contradiction { contradictions, .. } => contradictions,
            other => panic!("{other}"),
        }
    };
    let other = ConfigHints {
        seq_len: Some(10),
        num_heads: Some(4),
        h_cycles: Some(3),
        l_cycles: Some(4),
        puzzle_positions: Some(2),
        position: Some(PositionKind::None),
        halt_head: Some(HaltHead::HaltOnly),
        expansion: Some(5.0),
        ..ConfigHints::default()
    };
    assert_eq!(
        refused(small(HrmConfig::hrm(SIZES)), other),
        [
            "seq_len is 9 by the file's metadata, given 10",
            "num_heads is 2 by the file's metadata, given 4",
            "h_cycles is 2 by the file's metadata, given 3",
            "l_cycles is 2 by the file's metadata, given 4",
            "puzzle_positions is 1 by the file's metadata, given 2",
            "position is Rope by the file's metadata, given None",
            "halt_head is QLearning by the file's metadata, given HaltOnly",
            "expansion is 4.0 by the file's metadata, given 5.0",
        ]
    );
    // 0 stands for as few as hold a row, whoever says it: the file above, the options here.
    let two_positions = small(HrmConfig {
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 5,
            positions: Some(2),
        }),
        ..HrmConfig::hrm(SIZES)
    });
    let least = ConfigHints {
        puzzle_positions: Some(0),
        ..ConfigHints::default()
    };
    assert_eq!(
        refused(two_positions, least),
        ["puzzle_positions is 2 by the file's metadata, given 1"]
    );
}

#[test]
fn torch_checkpoints_of_every_variant_and_prefix_are_imported() {
    for (config, prefix) in variants().into_iter().zip([
        "",
        "inner.",
        "model.inner.",
        "_orig_mod.model.inner.",
        "_orig_mod.",
        "model.",
    ]) {
        let model = model(&config);
        let imported =
            import(&torch(&model, prefix, |_| {}), &options(&config), &device()).unwrap();
        assert_eq!(bits(&imported.model), bits(&model));
        let found = imported.model.config();
        // Many expansions give the same widths; all else is told.
        assert_eq!(found, &config);
        assert_eq!(
            found.gradient == GradientSpan::LastCycle,
            matches!(config.levels, Levels::Shared { .. })
        );
    }
}

#[test]
fn initial_states_in_bf16_are_converted() {
    let config = small(HrmConfig::hrm(SIZES));
    let file = torch(&model(&config), "", |tensors| {
        let (tensor, bytes) = tensors
            .iter_mut()
            .find(|(tensor, _)| tensor.name == "H_init")
            .unwrap();
        tensor.class = "BFloat16Storage";
        *bytes = [0x80, 0x3f].repeat(16);
    });
    let imported = import(&file, &options(&config), &device()).unwrap();
    let h_init = bits(&imported.model)
        .into_iter()
        .find(|(name, ..)| name == "H_init")
        .unwrap()
        .2;
    assert_eq!(h_init, [1.0f32.to_bits(); 16]);
}

#[test]
fn options_that_nobody_gives_are_listed() {
    let undetermined = |config: &HrmConfig, hints: ConfigHints| {
        let options = ImportOptions {
            hints,
            ..ImportOptions::default()
        };
        match import(&torch(&model(config), "", |_| {}), &options, &device()) {
            Err(StoreError::Undetermined { fields, .. }) => fields,
            other => panic!("expected undetermined fields, found {other:?}"),
        }
    };
    let hrm = small(HrmConfig::hrm(SIZES));
    assert_eq!(
        undetermined(&hrm, ConfigHints::default()),
        [
            "num_heads",
            "h_cycles",
            "l_cycles",
            "max_segments",
            "seq_len"
        ]
    );
    let some = ConfigHints {
        num_heads: Some(2),
        seq_len: Some(9),
        ..ConfigHints::default()
    };
    assert_eq!(
        undetermined(&hrm, some),
        ["h_cycles", "l_cycles", "max_segments"]
    );
    let trm = small(HrmConfig::trm(SIZES));
    assert!(undetermined(&trm, ConfigHints::default()).contains(&"puzzle_positions"));
    // Learned positions and the MLP mixer tell the length.
    let learned = small(HrmConfig {
        position: PositionKind::Learned,
        ..HrmConfig::hrm(SIZES)
    });
    assert_eq!(
        undetermined(&learned, ConfigHints::default()),
        ["num_heads", "h_cycles", "l_cycles", "max_segments"]
    );
    let cells = ConfigHints {
        seq_len: Some(9),
        ..ConfigHints::default()
    };
    let mlp = small(HrmConfig::trm_mlp(SIZES));
    assert_eq!(
        undetermined(&mlp, cells),
        ["h_cycles", "l_cycles", "max_segments"]
    );
}

#[test]
fn wrong_tensors_are_all_listed() {
    let config = small(HrmConfig::hrm(SIZES));
    let file = torch(&model(&config), "model.", |tensors| {
        tensors.retain(|(tensor, _)| {
            !tensor.name.ends_with("q_head.bias") && !tensor.name.ends_with("H_init")
        });
        let (mut extra, bytes) = tensors[0].clone();
        extra.name = "model.optimizer.step".into();
        extra.key = "extra".into();
        tensors.push((extra, bytes));
        let (bad, _) = tensors
            .iter_mut()
            .find(|(tensor, _)| {
                tensor
                    .name
                    .ends_with("L_level.layers.2.mlp.down_proj.weight")
            })
            .unwrap();
        bad.shape.swap(0, 1);
        bad.strides = vec![16, 1];
    });
    match import(&file, &options(&config), &device()).unwrap_err() {
        StoreError::WrongTensors {
            missing,
            unknown,
            misshapen,
            ..
        } => {
            assert_eq!(missing, ["H_init", "q_head.bias"]);
            assert_eq!(unknown, ["model.optimizer.step [5, 16]"]);
            assert_eq!(
                misshapen,
                [
                    "model.L_level.layers.2.mlp.down_proj.weight: expected [16, 256], found [256, 16]"
                ]
            );
        }
        other => panic!("{other}"),
    }
    let other = TensorFile::from_bytes(
        checkpoint(
            &[Tensor::whole("fc.weight", "FloatStorage", "0", &[2])],
            &[("0", f32_bytes(&[0.0; 2]))],
        ),
        "other.pt",
    );
    let message = import(&other.unwrap(), &options(&config), &device())
        .unwrap_err()
        .to_string();
    assert!(message.contains("unknown: fc.weight [2]"), "{message}");
    assert!(
        message.contains("missing: H_init\n    H_level.layers.0.mlp.down_proj.weight"),
        "{message}"
    );
    let twice = torch(&model(&config), "", |tensors| {
        let (mut again, bytes) = tensors[0].clone();
        again.name = format!("inner.{}", again.name);
        again.key = "again".into();
        tensors.push((again, bytes));
    });
    let message = import(&twice, &options(&config), &device())
        .unwrap_err()
        .to_string();
    assert!(message.contains("stands for the same weight"), "{message}");
}

#[test]
fn tensors_that_hold_no_floats_or_nothing_are_refused() {
    let config = small(HrmConfig::hrm(SIZES));
    let refused = |name: &str, change: fn(&mut Tensor, &mut Vec<u8>)| {
        let file = torch(&model(&config), "", |tensors| {
            let (tensor, bytes) = tensors
                .iter_mut()
                .find(|(tensor, _)| tensor.name == name)
                .unwrap();
            change(tensor, bytes);
        });
        match import(&file, &options(&config), &device()).unwrap_err() {
            StoreError::WrongTensors { misshapen, .. } => misshapen,
            other => panic!("{other}"),
        }
    };
    let integers = refused("H_init", |tensor, bytes| {
        tensor.class = "LongStorage";
        *bytes = vec![0; 16 * 8];
    });
    assert_eq!(integers, ["H_init: expected floats, found I64"]);
    let nothing = refused("puzzle_emb.weights", |tensor, _| {
        tensor.shape = vec![0, 16];
    });
    assert_eq!(
        nothing,
        ["puzzle_emb.weights: expected values, found [0, 16]"]
    );
}

#[test]
fn a_width_that_no_expansion_gives_is_named() {
    let config = small(HrmConfig::hrm(SIZES));
    let file = torch(&model(&config), "", |tensors| {
        for (tensor, _) in tensors {
            if tensor.name.ends_with(".mlp.gate_up_proj.weight") {
                tensor.shape = vec![200, 16];
            } else if tensor.name.ends_with(".mlp.down_proj.weight") {
                tensor.shape = vec![16, 100];
                tensor.strides = vec![100, 1];
            }
        }
    });
    let hints = ConfigHints {
        expansion: None,
        ..options(&config).hints
    };
    let untold = ImportOptions {
        hints,
        ..options(&config)
    };
    let message = inspect(&file, &untold).unwrap_err().to_string();
    assert!(
        message.contains("widths are 100 for 16, which no expansion gives"),
        "{message}"
    );
}

#[test]
fn contradictions_are_all_listed() {
    let config = small(HrmConfig::hrm(SIZES));
    let file = torch(&model(&config), "", |_| {});
    let hints = ConfigHints {
        hidden_size: Some(512),
        l_layers: Some(2),
        mixer: Some(MixerKind::Mlp),
        position: Some(PositionKind::Learned),
        ..options(&config).hints
    };
    let message = import(
        &file,
        &ImportOptions {
            hints,
            ..options(&config)
        },
        &device(),
    )
    .unwrap_err()
    .to_string();
    for part in [
        "hidden_size is 16, given 512",
        "l_layers is 4, given 2",
        "mixer is Attention",
        "no learned positions",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let hints = ConfigHints {
        expansion: Some(100.0),
        ..options(&config).hints
    };
    let message = import(
        &file,
        &ImportOptions {
            hints,
            ..options(&config)
        },
        &device(),
    )
    .unwrap_err()
    .to_string();
    assert!(
        message.contains("widths are 256 for 16, given the expansion 100"),
        "{message}"
    );
    let hints = ConfigHints {
        expansion: Some(1e300),
        ..options(&config).hints
    };
    let absurd = ImportOptions {
        hints,
        ..options(&config)
    };
    assert!(matches!(
        import(&file, &absurd, &device()),
        Err(StoreError::Contradiction { .. })
    ));
    let hints = ConfigHints {
        num_heads: Some(3),
        ..options(&config).hints
    };
    let message = import(
        &file,
        &ImportOptions {
            hints,
            ..options(&config)
        },
        &device(),
    )
    .unwrap_err()
    .to_string();
    assert!(message.contains("num_heads"), "{message}");
}

#[test]
fn a_weight_that_is_no_number_is_warned_of_by_name() {
    let config = small(HrmConfig::hrm(SIZES));
    let file = torch(&model(&config), "inner.", |tensors| {
        let (_, bytes) = tensors
            .iter_mut()
            .find(|(tensor, _)| tensor.name == "inner.lm_head.weight")
            .unwrap();
        bytes[12..16].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let imported = import(&file, &options(&config), &device()).unwrap();
    match imported.warnings.as_slice() {
        [
            ImportWarning::NonFinite {
                tensor,
                index: 3,
                value,
            },
        ] if value.is_nan() => assert_eq!(tensor, "inner.lm_head.weight"),
        other => panic!("{other:?}"),
    }
    assert!(
        imported.warnings[0]
            .to_string()
            .contains("`inner.lm_head.weight` holds NaN")
    );
}

#[test]
fn the_puzzle_table_is_cut_grown_or_reset() {
    let config = small(HrmConfig {
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 2,
            positions: None,
        }),
        ..HrmConfig::hrm(SIZES)
    });
    let table = TensorData::from([[1.0f32, 10.0], [2.0, 20.0], [3.0, 30.0], [6.0, 40.0]]);
    let model = model(&config).with_puzzle_table(BurnTensor::from_data(table, &device()));
    let file = torch(&model, "", |_| {});
    let rows = |puzzle_ids| -> Result<Vec<f32>, String> {
        let imported = import(
            &file,
            &ImportOptions {
                puzzle_ids,
                ..options(&config)
            },
            &device(),
        )
        .map_err(|err| err.to_string())?;
        let model = imported.model;
        let table = model.puzzle_emb.as_ref().unwrap().val();
        assert_eq!(table.dims()[0], model.config().num_puzzle_ids);
        Ok(table.to_data().iter().collect())
    };
    assert_eq!(
        rows(PuzzleIds::Keep).unwrap(),
        [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 6.0, 40.0]
    );
    assert_eq!(rows(PuzzleIds::Cut(2)).unwrap(), [1.0, 10.0, 2.0, 20.0]);
    assert_eq!(
        rows(PuzzleIds::Grow(6)).unwrap()[6..],
        [6.0, 40.0, 3.0, 25.0, 3.0, 25.0]
    );
    assert_eq!(rows(PuzzleIds::Reset(3)).unwrap(), [0.0; 6]);
    assert!(
        rows(PuzzleIds::Cut(5))
            .unwrap_err()
            .contains("can't be cut to 5 rows, it has 4")
    );
    assert!(
        rows(PuzzleIds::Grow(3))
            .unwrap_err()
            .contains("can't grow to 3 rows, it has 4")
    );
    assert!(
        rows(PuzzleIds::Reset(0))
            .unwrap_err()
            .contains("at least one row")
    );
    assert!(
        rows(PuzzleIds::Reset(usize::MAX))
            .unwrap_err()
            .contains("num_puzzle_ids")
    );
    let bare = HrmConfig {
        puzzle_embedding: None,
        ..config.clone()
    };
    let file = torch(&Hrm::new(&bare, 0, &device()).unwrap(), "", |_| {});
    let err = import(
        &file,
        &ImportOptions {
            puzzle_ids: PuzzleIds::Reset(2),
            ..options(&bare)
        },
        &device(),
    );
    assert!(
        err.unwrap_err()
            .to_string()
            .contains("the model has no puzzle table")
    );
}

/// A model whose table has 5000 rows, and the table's values, each another.
fn with_long_table() -> (HrmConfig, Hrm, Vec<f32>) {
    let config = small(HrmConfig {
        puzzle_embedding: Some(PuzzleEmbeddingConfig {
            dim: 2,
            positions: None,
        }),
        num_puzzle_ids: 5000,
        ..HrmConfig::hrm(SIZES)
    });
    let values: Vec<f32> = (0..10_000).map(|i| i as f32).collect();
    let table = TensorData::new(values.clone(), [5000, 2]);
    let table = BurnTensor::from_data(table, &device());
    let model = model(&config).with_puzzle_table(table);
    (config, model, values)
}

#[test]
fn a_long_puzzle_table_is_read_in_pieces() {
    let (config, model, values) = with_long_table();
    let file = torch(&model, "", |_| {});
    let rows = |puzzle_ids| -> Vec<f32> {
        let options = ImportOptions {
            puzzle_ids,
            ..options(&config)
        };
        let model = import(&file, &options, &device()).unwrap().model;
        let table = model.puzzle_emb.as_ref().unwrap().val();
        table.to_data().iter().collect()
    };
    // Pieces of 4096 rows.
    assert!(rows(PuzzleIds::Cut(4097)) == values[..2 * 4097]);
    let grown = [&values[..], &[4999.0, 5000.0]].concat();
    assert!(rows(PuzzleIds::Grow(5001)) == grown);
}

#[test]
fn a_damaged_puzzle_table_is_refused_however_much_of_it_is_read() {
    let (config, model, values) = with_long_table();
    let good = torch_bytes(&model, "", |_| {});
    let table = f32_bytes(&values);
    let start = good
        .windows(table.len())
        .position(|window| window == table)
        .unwrap();
    let imported = |bytes: &[u8], puzzle_ids| {
        let file = TensorFile::from_bytes(bytes.to_vec(), "test.pt").unwrap();
        let options = ImportOptions {
            puzzle_ids,
            ..options(&config)
        };
        import(&file, &options, &device()).map(drop)
    };
    // In the first row, and in one of the second piece.
    for at in [start + 4, start + 4500 * 8] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        for puzzle_ids in [
            PuzzleIds::Keep,
            PuzzleIds::Cut(2),
            PuzzleIds::Cut(4600),
            PuzzleIds::Grow(5001),
        ] {
            imported(&good, puzzle_ids).unwrap();
            let message = imported(&bad, puzzle_ids).unwrap_err().to_string();
            assert!(message.contains("checksum"), "{puzzle_ids:?}: {message}");
        }
        // None of it is read.
        imported(&bad, PuzzleIds::Reset(3)).unwrap();
    }
}

#[test]
fn an_imported_model_can_be_trained() {
    let config = small(HrmConfig::hrm(SIZES));
    let file = torch(&model(&config), "", |_| {});
    let fresh = Hrm::new(&config, 7, &device().autodiff()).unwrap();
    let imported = import(&file, &options(&config), &device().autodiff())
        .unwrap()
        .model;
    let kinds = |model: &Hrm| {
        let table = model.puzzle_emb.as_ref().unwrap().val();
        let head = model.lm_head.val();
        [
            table.is_autodiff(),
            table.is_require_grad(),
            head.is_autodiff(),
            head.is_require_grad(),
        ]
    };
    assert_eq!(kinds(&imported), kinds(&fresh));
    assert_eq!(bits(&imported), bits(&model(&config)));
}

#[test]
fn final_checkpoints_of_the_reference_programs_import_and_predict() {
    let Some(dir) = fixtures() else { return };
    for name in TRACES {
        let trace = TensorFile::open(dir.join(format!("reference/{name}.safetensors"))).unwrap();
        let hints =
            ConfigHints::from_official_json(trace.metadata().get("config").unwrap(), name).unwrap();
        let options = ImportOptions {
            hints,
            ..ImportOptions::default()
        };
        let torch = TensorFile::open(dir.join(format!("reference/{name}.final.pt"))).unwrap();
        let last = import(&torch, &options, &device()).unwrap();
        assert_eq!(last.warnings, [], "{name}");
        for (short, shape, found) in bits(&last.model) {
            let full = format!("final/inner.{short}");
            assert_eq!(trace.info(&full).unwrap().shape, shape, "{name}: {full}");
            let expected: Vec<u32> = trace
                .read_f32(&full)
                .unwrap()
                .into_iter()
                .map(f32::to_bits)
                .collect();
            assert_eq!(found, expected, "{name}: {full}");
        }

        // The start of the trace, whose first segment was recorded.
        let start = ImportOptions {
            within: "weights/".into(),
            ..ImportOptions::default()
        };
        let model = import(&trace, &start, &device()).unwrap().model;
        let config = model.config().clone();
        let ids = |name: &str, shape: &[usize]| {
            TensorData::new(
                trace.read_i64(&format!("infer/batch/{name}")).unwrap(),
                shape.to_vec(),
            )
        };
        let batch = trace.info("infer/batch/inputs").unwrap().shape[0];
        let inputs =
            BurnTensor::<2, Int>::from_data(ids("inputs", &[batch, config.seq_len]), &device());
        let puzzles =
            BurnTensor::<1, Int>::from_data(ids("puzzle_identifiers", &[batch]), &device());
        let x = model.embed(inputs, model.puzzle_rows(puzzles));
        let (_, output) = model.segment(model.initial_state(), x);
        let expected = trace.read_f32("infer/segment0/logits").unwrap();
        let largest = output
            .logits
            .to_data()
            .iter::<f32>()
            .zip(&expected)
            .map(|(found, expected)| (found - expected).abs())
            .fold(0.0, f32::max);
        println!("{name}: logits of the first segment differ by at most {largest:.2e}");
        let tolerance = if config.mixer == MixerKind::Mlp {
            2e-3
        } else {
            2e-4
        };
        assert!(largest <= tolerance, "{name}: {largest}");
    }
}

#[test]
fn a_checkpoint_made_by_others_asks_for_what_it_lacks_and_is_imported() {
    let Some(dir) = fixtures() else { return };
    let file = TensorFile::open(dir.join("interop/hrm_tiny_h64_torch.pth")).unwrap();
    let message = import(&file, &ImportOptions::default(), &device())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("num_heads, h_cycles, l_cycles, max_segments, seq_len"),
        "{message}"
    );
    let hints = ConfigHints {
        num_heads: Some(4),
        h_cycles: Some(2),
        l_cycles: Some(2),
        max_segments: Some(8),
        seq_len: Some(30),
        ..ConfigHints::default()
    };
    let imported = import(
        &file,
        &ImportOptions {
            hints,
            ..ImportOptions::default()
        },
        &device(),
    )
    .unwrap();
    let config = imported.model.config();
    assert_eq!(
        (config.vocab_size, config.hidden_size, config.num_puzzle_ids),
        (12, 64, 2)
    );
    assert_eq!(
        (config.levels, config.puzzle_len()),
        (
            Levels::Separate {
                h_layers: 1,
                l_layers: 1
            },
            1
        )
    );
    let inputs = BurnTensor::<2, Int>::ones([2, 30], &device());
    let x = imported.model.embed(
        inputs,
        imported
            .model
            .puzzle_rows(BurnTensor::zeros([2], &device())),
    );
    let (_, output) = imported.model.segment(imported.model.initial_state(), x);
    assert!(output.logits.to_data().iter::<f32>().all(f32::is_finite));
}
