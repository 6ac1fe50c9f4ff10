//! Weights of the reference programs go in and out, and give the reference's answers; recorded traces are held against us.

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hrm::act::LossKind;
use hrm::core::store::{ImportOptions, TensorFile, export, export_to, import};
use hrm::prelude::*;
use program::{Ran, Workshop, hrm, words};
use serde_json::Value;

/// The traces and the options that their checkpoints need, since a state dict has no configuration.
const TRACES: &[(&str, &str)] = &[
    (
        "hrm_rope",
        "--heads 2 --h-cycles 2 --l-cycles 2 --max-segments 4 --seq-len 16",
    ),
    (
        "hrm_learned",
        "--heads 2 --h-cycles 3 --l-cycles 1 --max-segments 4",
    ),
    (
        "hrm_wide_puzzle",
        "--heads 2 --h-cycles 2 --l-cycles 2 --max-segments 4 --seq-len 16",
    ),
    (
        "hrm_no_puzzle",
        "--heads 2 --h-cycles 2 --l-cycles 2 --max-segments 1 --seq-len 16",
    ),
    (
        "trm_attention",
        "--heads 2 --h-cycles 3 --l-cycles 2 --max-segments 4 --seq-len 16 --puzzle-positions 4",
    ),
    (
        "trm_mlp",
        "--h-cycles 2 --l-cycles 3 --max-segments 4 --seq-len 16",
    ),
];

fn trace(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../hrm-train/tests/fixtures")
        .join(name)
        .with_extension("safetensors")
}

fn numbers(text: &Value) -> Vec<i64> {
    let text = text.as_str().expect("a line of tokens");
    text.split(' ').map(|word| word.parse().unwrap()).collect()
}

fn argmax(logits: &[f32], vocab: usize) -> Vec<i64> {
    let best = |row: &[f32]| {
        let better = |best: usize, index: usize| if row[index] > row[best] { index } else { best };
        (0..row.len()).fold(0, better) as i64
    };
    logits.chunks(vocab).map(best).collect()
}

/// Names, shapes and bits of all tensors.
fn tensors(path: &Path) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let file = TensorFile::open(path).unwrap();
    let tensor = |name: &str| {
        let bits = file.read_f32(name).unwrap().into_iter().map(f32::to_bits);
        let shape = file.info(name).unwrap().shape.clone();
        (name.to_owned(), shape, bits.collect())
    };
    file.names().map(tensor).collect()
}

/// Asks about the row of a trace's batch, segment by segment.
fn think(dir: &Path, run: &str, inputs: &[i64], id: i64) -> Ran {
    let puzzle: Vec<String> = inputs.iter().map(i64::to_string).collect();
    let id = id.to_string();
    let puzzle = puzzle.join(" ");
    let args = [
        "solve",
        "--checkpoint",
        run,
        "--json",
        "--trace",
        "--halt",
        "fixed",
        "--segments",
        "3",
        "--puzzle-id",
        &id,
        &puzzle,
    ];
    hrm(dir, args)
}

#[test]
fn start_weights_of_a_trace_give_the_answers_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    for (name, _) in TRACES {
        let file = TensorFile::open(trace(name)).unwrap();
        let options = ImportOptions {
            within: "weights/".to_owned(),
            ..ImportOptions::default()
        };
        let imported = import(&file, &options, &Device::flex()).unwrap();
        let start = dir.join(format!("{name}.safetensors"));
        export(&imported.model, imported.max_segments, &start).unwrap();
        words(dir, &format!("import {name}.safetensors --out {name}")).ok();

        let sizes = imported.model.config().sizes();
        let (s, v) = (sizes.seq_len, sizes.vocab_size);
        let inputs = file.read_i64("infer/batch/inputs").unwrap();
        let ids = file.read_i64("infer/batch/puzzle_identifiers").unwrap();
        for (slot, (inputs, &id)) in inputs.chunks(s).zip(&ids).enumerate() {
            // Without a puzzle table there is but the blank puzzle.
            let id = if sizes.num_puzzle_ids > 1 { id } else { 0 };
            let objects = think(dir, name, inputs, id).objects();
            let answers = objects[0]["trace"].as_array().expect("a trace");
            assert_eq!(answers.len(), 3);
            for (segment, answer) in answers.iter().enumerate() {
                let logits = file.read_f32(&format!("infer/segment{segment}/logits"));
                let logits = logits.unwrap();
                let row = &logits[slot * s * v..(slot + 1) * s * v];
                assert_eq!(
                    numbers(answer),
                    argmax(row, v),
                    "{name}, slot {slot}, segment {segment}"
                );
            }
        }
    }
}

#[test]
fn torch_checkpoints_import_and_predict() {
    let Some(fixtures) = program::shared("fixtures") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    for (name, options) in TRACES {
        let checkpoint = fixtures.join("reference").join(format!("{name}.final.pt"));
        let import = |more: &str| {
            words(
                dir,
                &format!("import {} {more} --out {name}", checkpoint.display()),
            )
        };
        import("").refused(&[
            &format!("{name}.final.pt"),
            "h_cycles, l_cycles, max_segments",
        ]);
        let said = import(&format!("{options} --json")).ok().objects();
        assert_eq!(said[0]["type"], "imported");
        assert_eq!(said[0]["warnings"], Value::Array(Vec::new()));

        // The same weights are in the trace, as the reference's own words.
        words(dir, &format!("export {name} --out {name}.safetensors")).ok();
        let recorded = TensorFile::open(trace(name)).unwrap();
        let ours = tensors(&dir.join(format!("{name}.safetensors")));
        assert!(ours.len() > 10);
        for (tensor, shape, bits) in ours {
            let short = tensor
                .strip_prefix("model.inner.")
                .expect("an official name");
            let official = format!("final/inner.{short}");
            let bits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            assert_eq!(recorded.info(&official).unwrap().shape, shape, "{official}");
            assert!(recorded.read_f32(&official).unwrap() == bits, "{official}");
        }

        let inputs = recorded.read_i64("infer/batch/inputs").unwrap();
        let objects = think(dir, name, &inputs[..16], 0).objects();
        assert_eq!(numbers(&objects[0]["answer"]).len(), 16);
    }
}

#[test]
fn a_checkpoint_made_by_others_imports() {
    let Some(fixtures) = program::shared("fixtures") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let path = fixtures.join("interop/hrm_tiny_h64_torch.pth");
    let import = |more: &str| words(dir, &format!("import {} --out tiny {more}", path.display()));
    import("--preset hrm-sudoku-1k").refused(&["hrm_tiny_h64_torch.pth", "seq_len"]);
    import("--preset hrm-sudoku-1k --seq-len 81 --heads 7").refused(&["num_heads", "7", "64"]);
    import("--preset trm-sudoku --seq-len 81").refused(&["expected TRM with attention, found HRM"]);
    import("--preset hrm-sudoku-full --seq-len 81")
        .refused(&["expected learned positions, found no learned positions"]);
    import("--preset hrm-sudoku-1k --seq-len 81")
        .refused(&["a square Sudoku's", "found 12 tokens"]);
    import("--preset hrm-maze-1k --seq-len 900").refused(&["a maze's 6 tokens", "found 12 tokens"]);
    assert!(!dir.join("tiny").exists());
    let said = import("--preset hrm-arc-1 --seq-len 81 --puzzle-table grow:5 --json");
    let said = said.ok().objects();
    assert_eq!(said[0]["model"]["num_puzzle_ids"], 5);
    assert_eq!(said[0]["model"]["num_heads"], 8);
    assert_eq!(said[0]["max_segments"], 16);
    let inputs: Vec<i64> = (0..81).map(|cell| 1 + cell % 10).collect();
    let objects = think(dir, "tiny", &inputs, 4).objects();
    assert_eq!(numbers(&objects[0]["answer"]).len(), 81);
    import("--preset hrm-arc-1 --seq-len 81").refused(&["tiny is there already", "--force"]);
}

#[test]
fn an_import_of_an_export_is_the_same_model() {
    let workshop = Workshop::with_run();
    let dir = workshop.dir();
    for weights in ["ema", "raw"] {
        let run = |line: String| workshop.run(&line);
        run(format!(
            "export run --out {weights}.safetensors --weights {weights}"
        ))
        .ok();
        run(format!("import {weights}.safetensors --out {weights}")).ok();
        run(format!("export {weights} --out again.safetensors --force")).ok();
        let first = tensors(&dir.join(format!("{weights}.safetensors")));
        assert!(
            first == tensors(&dir.join("again.safetensors")),
            "{weights}"
        );

        let evaluate = |line: String| {
            let found = run(line).ok().objects();
            ["exact", "cell_accuracy", "q_halt_accuracy", "mean_segments"]
                .map(|field| found[0][field].clone())
        };
        let ours = evaluate(format!(
            "eval --checkpoint run --data data --json --weights {weights}"
        ));
        assert_eq!(
            ours,
            evaluate(format!("eval --checkpoint {weights} --data data --json"))
        );
    }
    assert!(
        tensors(&dir.join("ema.safetensors")) != tensors(&dir.join("raw.safetensors")),
        "averages are not the weights"
    );
    // A training goes on from it.
    workshop
        .run("train --resume ema --data data --steps 2 --json")
        .ok();
    assert!(
        dir.join("ema/checkpoints/step-000000002.safetensors")
            .is_file()
    );
}

#[test]
fn an_export_takes_its_task_and_its_recipe_along() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let run = |line: &str| words(dir, line);
    // By its sizes a maze of 4 x 4 might be a Sudoku as well.
    run("data maze generate --size 4 --min-path 4 --count 12 --seed 1 --out mazes.csv").ok();
    run("data build maze --input mazes.csv --test-count 4 --out data").ok();
    run(&format!(
        "train --preset trm-small --data data --out run --steps 2 --seed 1 --set optimizer.lr=0.003 {}",
        program::TINY
    ))
    .ok();
    run("export run --out model.safetensors").ok();
    let text = run("import model.safetensors --out imported").ok().stdout;
    assert!(text.trim_end().ends_with("; recipe trm-small"), "{text}");
    let solve = |checkpoint: &str| {
        let line = format!("solve --checkpoint {checkpoint} --file mazes.csv --json");
        let ran = run(&line);
        assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
        let objects = ran.objects();
        let answer = |object: &Value| object["answer"].clone();
        objects.iter().map(answer).collect::<Vec<_>>()
    };
    let answers = solve("run");
    assert!(answers.len() >= 12);
    assert_eq!(solve("imported"), answers);
    // A training goes on as the run did.
    let file = |dir: &Path| RunFile::read(dir).unwrap();
    let (ours, theirs) = (file(&dir.join("run")), file(&dir.join("imported")));
    assert_eq!((ours.preset, ours.config), (theirs.preset, theirs.config));
    assert_eq!(theirs.data, PathBuf::new());

    // A checkpoint alone says as much, but for the name of the recipe.
    let checkpoint = "run/checkpoints/step-000000002.safetensors";
    fs::copy(dir.join(checkpoint), dir.join("alone.safetensors")).unwrap();
    run("export alone.safetensors --out without.safetensors").ok();
    let said = run("import without.safetensors --out without --json").ok();
    assert_eq!(said.objects()[0]["preset"], Value::Null);
    assert_eq!(solve("without"), answers);
    run(&format!("export {checkpoint} --out file.safetensors")).ok();
    let whole = |name: &str| fs::read(dir.join(name)).unwrap();
    assert!(whole("file.safetensors") == whole("model.safetensors"));

    // What is named counts before the file's own.
    let said = run("import model.safetensors --preset trm-sudoku --out named --json").ok();
    let said = said.objects();
    assert_eq!(said[0]["preset"], "trm-sudoku");
    assert_eq!(said[0]["max_segments"], 6);
    let named = file(&dir.join("named")).config;
    assert_eq!(named.batch_size, 768);
    assert_eq!(named.model, file(&dir.join("run")).config.model);

    // What goes to a device leaves it one, and a link is written through.
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink("/dev/null", dir.join("nothing")).unwrap();
        symlink("linked.safetensors", dir.join("link")).unwrap();
        fs::write(dir.join("linked.safetensors"), "old").unwrap();
        run("export run --out nothing").ok();
        run("export run --out link --force").ok();
        assert!(dir.join("nothing").is_symlink() && dir.join("link").is_symlink());
        assert!(fs::metadata(dir.join("linked.safetensors")).unwrap().len() > 1000);
    }
    run("export run --out -").refused(&["--out", "the name of a file"]);
    // A file without any of it is taken as before.
    let model = Checkpoint::open(dir.join("run")).unwrap();
    let model = model.model(WeightKind::Ema, &Device::flex()).unwrap();
    export(&model, 6, dir.join("bare.safetensors")).unwrap();
    let text = run("import bare.safetensors --out bare").ok().stdout;
    assert!(text.contains("; recipe trm-sudoku, by its kind"), "{text}");
    // What can't be right is refused.
    let metadata = |key: &str, value: &str| {
        let more = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let mut file = fs::File::create(dir.join("bad.safetensors")).unwrap();
        export_to(&model, 6, &more, &mut file).unwrap();
        run("import bad.safetensors --out bad")
    };
    metadata("hrm_task", "\"chess\"").refused(&["bad.safetensors", "hrm_task", "chess"]);
    metadata("hrm_task", "\"arc\"").refused(&["hrm_task is arc", "900 cells, found 6 and 16"]);
    metadata("hrm_training", "{}").refused(&["bad.safetensors", "hrm_training", "--preset"]);
}

#[test]
fn bad_checkpoints_and_wishes_are_refused() {
    let workshop = Workshop::with_run();
    let run = |line: &str| workshop.untouched(|| workshop.run(line));
    let options = "--heads 2 --h-cycles 1 --l-cycles 1 --max-segments 2 --seq-len 16 --out x";
    run(&format!("import nowhere.pt {options}")).refused(&["nowhere.pt"]);
    run(&format!("import puzzles.csv {options}"))
        .refused(&["puzzles.csv", "expected a torch checkpoint"]);
    // A checkpoint of ours is a run already.
    run(&format!(
        "import run/checkpoints/step-000000004.safetensors {options}"
    ))
    .refused(&["step-000000004.safetensors", "checkpoint of a run"]);
    workshop.run("export run --out model.safetensors").ok();
    let whole = fs::read(workshop.path("model.safetensors")).unwrap();
    fs::write(workshop.path("cut.safetensors"), &whole[..whole.len() - 9]).unwrap();
    let import = |more: &str| run(&format!("import model.safetensors --out x {more}"));
    run("import cut.safetensors --out x").refused(&["cut.safetensors"]);
    import("--config puzzles.csv").refused(&["puzzles.csv"]);
    import("--config nowhere.yaml").refused(&["nowhere.yaml"]);
    import("--preset trm-smal").refused(&["`trm-smal`", "trm-small"]);
    import("--puzzle-table shrink:2").refused(&["--puzzle-table", "shrink:2", "cut:N"]);
    import("--puzzle-table cut:99").refused(&["model.safetensors", "99 rows"]);
    run("import model.safetensors --out data").refused(&["data is there already", "--force"]);
    run("import model.safetensors --out puzzles.csv").refused(&["puzzles.csv", "there already"]);

    run("export run --out model.safetensors").refused(&["there already", "--force"]);
    run("export run --out data --force").refused(&["data is a folder"]);
    run("export run --out nowhere/x.safetensors").refused(&["nowhere/x.safetensors"]);
    run("export data --out x.safetensors").refused(&["no training run"]);
    run("export run --out x.safetensors --weights best").refused(&["--weights", "ema, raw"]);
    #[cfg(not(feature = "hub"))]
    run("pull owner/name --out x").refused(&["--features hub"]);
}

#[test]
fn a_trace_passes_and_a_damaged_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let good = trace("trm_attention");
    let whole = fs::read(&good).unwrap();
    fs::write(dir.join("good.safetensors"), &whole).unwrap();
    let text = words(dir, "conformance --trace good.safetensors")
        .ok()
        .stdout;
    assert!(text.contains("step-1 gradients, relative"), "{text}");
    assert!(text.contains("equal within the tolerances"), "{text}");

    // One weight of the start, by a tenth.
    let mut damaged = whole.clone();
    let at = data_start(&whole, "weights/inner.lm_head.weight");
    let value = f32::from_le_bytes(damaged[at..at + 4].try_into().unwrap()) + 0.1;
    damaged[at..at + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(dir.join("damaged.safetensors"), &damaged).unwrap();
    let ran = words(
        dir,
        "conformance --json --trace good.safetensors damaged.safetensors",
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let objects = ran.objects();
    assert_eq!(objects.len(), 2);
    for (object, passed) in objects.iter().zip([true, false]) {
        assert_eq!(object["type"], "conformance");
        assert_eq!(object["passed"], passed);
        let quantities = object["quantities"].as_array().unwrap();
        assert!(quantities.len() >= 12);
        let row = |name: &str| {
            quantities
                .iter()
                .find(|row| row["quantity"] == name)
                .unwrap()
        };
        assert_eq!(row("inference logits")["passed"], passed);
        assert_eq!(row("inference z_H")["passed"], true);
        let error = row("inference logits")["largest_error"].as_f64().unwrap();
        assert_eq!(
            error <= row("inference logits")["tolerance"].as_f64().unwrap(),
            passed
        );
    }
    let text = words(dir, "conformance --trace damaged.safetensors").stdout;
    assert!(
        text.contains("OVER") && text.contains("different"),
        "{text}"
    );

    let refused = |bytes: &[u8], said: &[&str]| {
        fs::write(dir.join("bad.safetensors"), bytes).unwrap();
        words(dir, "conformance --trace bad.safetensors").refused(said);
    };
    refused(b"no trace", &["bad.safetensors", "no safetensors file"]);
    refused(
        &whole[..whole.len() - 1],
        &["bad.safetensors", "no safetensors file"],
    );
    let without = |old: &str, new: &str| {
        assert_eq!(old.len(), new.len());
        let at = whole
            .windows(old.len())
            .position(|bytes| bytes == old.as_bytes());
        let mut bytes = whole.clone();
        bytes[at.unwrap()..][..old.len()].copy_from_slice(new.as_bytes());
        bytes
    };
    refused(
        &without("\"optimizer\"", "\"optimiser\""),
        &["`optimizer`", "is missing"],
    );
    refused(
        &without("train/step3/min_steps", "train/step3/max_steps"),
        &["bad.safetensors", "`train/step3/min_steps`", "nothing"],
    );
    words(dir, "conformance --trace nowhere.safetensors").refused(&["nowhere.safetensors"]);
    // One that can't be read keeps none of the others from being held.
    let ran = words(
        dir,
        "conformance --trace nowhere.safetensors good.safetensors --json",
    );
    assert_eq!((ran.code, ran.objects().len()), (Some(2), 1), "{ran:?}");
    assert!(ran.stderr.contains("nowhere.safetensors"), "{ran:?}");
    // Without traces the device is held against the CPU, part by part.
    let parts = words(dir, "conformance");
    assert_eq!(parts.code, Some(0), "{parts:?}");
    assert!(
        parts.stdout.contains("training step: gradients"),
        "{parts:?}"
    );
}

/// Where the bytes of a tensor begin.
fn data_start(file: &[u8], tensor: &str) -> usize {
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let entries: Value = serde_json::from_slice(&file[8..8 + header]).unwrap();
    8 + header + entries[tensor]["data_offsets"][0].as_u64().unwrap() as usize
}

/// The training of `all_config.yaml` is what a training of the import goes on by.
#[test]
fn an_import_goes_on_by_the_training_of_its_configuration_file() {
    let workshop = Workshop::with_run();
    let dir = workshop.dir();
    let model = Checkpoint::open(dir.join("run")).unwrap();
    let model = model.model(WeightKind::Ema, &Device::flex()).unwrap();
    export(&model, 6, dir.join("bare.safetensors")).unwrap();
    let config = "arch: {halt_exploration_prob: 0.2, loss: {loss_type: softmax_cross_entropy}}\n\
        global_batch_size: 24\nlr: 0.0003\nweight_decay: 0.1\nlr_warmup_steps: 5\nema: false\n";
    fs::write(dir.join("all_config.yaml"), config).unwrap();
    let import = "import bare.safetensors --config all_config.yaml";
    let text = workshop.run(&format!("{import} --out told")).ok().stdout;
    assert!(text.contains(" with the settings of its file"), "{text}");
    let told = RunFile::read(dir.join("told")).unwrap().config;
    assert_eq!(
        (told.batch_size, told.ema, told.schedule.warmup_steps),
        (24, None, 5)
    );
    assert_eq!(
        (told.optimizer.lr, told.optimizer.weight_decay),
        (3e-4, 0.1)
    );
    assert_eq!(
        (told.act.exploration, told.act.loss),
        (0.2, LossKind::Softmax)
    );
    workshop
        .run("train --resume told --data data --steps 1")
        .ok();

    for (line, part) in [
        ("lr: fast", "all_config.yaml: lr: invalid type"),
        ("lr: -1", "optimizer.lr"),
        (
            "arch: {loss: {loss_type: hinge}}",
            "unknown variant `hinge`",
        ),
    ] {
        fs::write(dir.join("all_config.yaml"), line).unwrap();
        workshop
            .run(&format!("{import} --out new"))
            .refused(&[part]);
        assert!(!dir.join("new").exists());
    }
}
