//! The published ARC tasks: read, made into sets, voted on, compared.
//! Reads `HRM_SHARED_DIR/data/arc`; says so and does nothing where the variable is unset (but fails under CI).

use std::collections::HashSet;
use std::path::PathBuf;

use hrm_data::arc::{
    ArcAugmentation, ArcSettings, ArcSource, ArcTask, LeakKind, TestUse, Votes, build_sets, crop,
    find_leaks, read_kaggle,
};
use hrm_data::{IGNORED, PuzzleSet};

fn tasks(name: &str) -> Option<Vec<ArcTask>> {
    let Some(folder) = std::env::var_os("HRM_SHARED_DIR").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "CI needs HRM_SHARED_DIR");
        eprintln!("skipped: HRM_SHARED_DIR is not set");
        return None;
    };
    let path = |part| folder.join(format!("data/arc/arc-agi_{name}_{part}.json"));
    let solutions = path("solutions");
    let solutions = solutions.exists().then_some(solutions.as_path());
    Some(read_kaggle(path("challenges"), solutions).unwrap())
}

fn settings(augmentations: usize) -> ArcSettings {
    ArcSettings {
        augmentations,
        ..ArcSettings::default()
    }
}

#[test]
fn all_published_tasks_are_read() {
    for (name, count, solved) in [
        ("training", 400, true),
        ("evaluation", 400, false),
        ("concept", 160, true),
    ] {
        let Some(tasks) = tasks(name) else { return };
        assert_eq!(tasks.len(), count, "{name}");
        assert!(
            tasks
                .iter()
                .all(|t| !t.train.is_empty() && !t.test.is_empty())
        );
        let outputs = tasks
            .iter()
            .flat_map(|t| &t.test)
            .all(|t| t.output.is_some());
        assert_eq!(outputs, solved, "{name}");
    }
}

#[test]
fn the_task_that_is_in_two_splits_is_found() {
    let (Some(training), Some(evaluation)) = (tasks("training"), tasks("evaluation")) else {
        return;
    };
    let leaks = find_leaks(&[("training", &training), ("evaluation", &evaluation)]);
    let pairs: Vec<_> = leaks
        .iter()
        .map(|leak| (&*leak.first.1, &*leak.second.1))
        .collect();
    assert!(
        pairs.contains(&("40853293", "070dd51e")) || pairs.contains(&("070dd51e", "40853293")),
        "{leaks:#?}"
    );
    eprintln!("{leaks:#?}");
}

/// ARC-AGI-2's training set holds tasks of ARC-AGI-1's evaluation set under their own names; here such a pair of
/// sets is made up.
#[test]
fn a_training_set_that_holds_evaluation_tasks_is_caught() {
    let Some(training) = tasks("training") else {
        return;
    };
    let (first, second) = (&training[..100], &training[90..200]);
    let leaks = find_leaks(&[("arc-2 training", second), ("arc-1 evaluation", first)]);
    let same: Vec<_> = leaks
        .iter()
        .filter(|leak| leak.kind == LeakKind::SamePuzzle)
        .map(|leak| leak.first.1.clone())
        .collect();
    let shared: Vec<_> = training[90..100]
        .iter()
        .map(|task| task.id.clone())
        .collect();
    assert_eq!(same, shared);
}

#[test]
fn true_answers_solve_every_task_under_every_augmentation() {
    let Some(concept) = tasks("concept") else {
        return;
    };
    let source = ArcSource {
        tasks: &concept,
        tests: TestUse::Evaluate,
    };
    let sets = build_sets(&[source], settings(8)).unwrap();
    let mut votes = Votes::new(&sets.test_tasks);
    for (batch, rows) in sets.test.batches(64) {
        for row in 0..rows {
            let (input, label) = (batch.input(row), batch.label(row));
            let id = batch.puzzle_ids[row];
            votes.cast(&sets.names, id, input, label, 0.0).unwrap();
        }
    }
    let pass = votes.pass_at(&[1, 2])[0];
    assert_eq!(
        (pass.tasks, pass.whole_tasks, pass.test_shares),
        (160, Some(1.0), Some(1.0))
    );
    let submission = votes.submission();
    for task in &concept {
        for (test, attempts) in task.test.iter().zip(&submission[&task.id]) {
            assert_eq!(Some(&attempts.attempt_1), test.output.as_ref());
        }
    }
}

/// Ten tasks have the right answer alone, ten have it behind a copy of the input, the others have the copy alone. Of the third task, which has two
/// tests, only the first is answered: no task by HRM's rule, half of one by TRM's.
#[test]
fn held_out_training_tasks_are_judged() {
    let Some(training) = tasks("training") else {
        return;
    };
    let held_out = &training[350..];
    assert_eq!(held_out[2].test.len(), 2);
    let source = ArcSource {
        tasks: held_out,
        tests: TestUse::Evaluate,
    };
    let sets = build_sets(&[source], settings(0)).unwrap();
    let mut votes = Votes::new(&sets.test_tasks);
    for (batch, rows) in sets.test.batches(16) {
        for row in 0..rows {
            let (input, label) = (batch.input(row), batch.label(row));
            let id = batch.puzzle_ids[row];
            let (name, _) = sets.names.arc_puzzle(id).unwrap();
            let at = held_out.iter().position(|task| task.id == name).unwrap();
            let is_first = crop(input).as_ref() == Some(&held_out[at].test[0].input);
            let predictions = match at {
                2 if !is_first => vec![input],
                0..10 => vec![label],
                10..20 => vec![input, label, input],
                _ => vec![input],
            };
            for prediction in predictions {
                votes.cast(&sets.names, id, input, prediction, 0.0).unwrap();
            }
        }
    }
    let pass = votes.pass_at(&[1, 2]);
    for (pass, (k, whole, shares)) in pass.iter().zip([(1, 9.0, 9.5), (2, 19.0, 19.5)]) {
        assert_eq!((pass.k, pass.tasks), (k, 50));
        assert_eq!(pass.whole_tasks, Some(whole / 50.0), "pass@{k}");
        assert_eq!(pass.test_shares, Some(shares / 50.0), "pass@{k}");
    }
}

fn assert_labels_follow_the_tasks(set: &PuzzleSet, tasks: &[ArcTask]) {
    let mut ignored = 0;
    for index in 0..set.num_examples() {
        let example = set.example(index);
        let names = set.identifiers().unwrap();
        let (id, augmentation) = names.arc_puzzle(example.puzzle_id).unwrap();
        let task = tasks.iter().find(|task| task.id == id).unwrap();
        let input = crop(&example.inputs).unwrap();
        let output = crop(&example.labels);
        ignored += usize::from(example.labels.iter().all(|&label| label == IGNORED));
        let inverse = augmentation.inverse();
        assert!(task.pairs().any(|pair| pair.input == inverse.apply(&input)
            && pair.output == output.as_ref().map(|grid| inverse.apply(grid))));
    }
    assert!(ignored == 0 || ignored == set.num_examples());
}

#[test]
fn the_splits_hold_what_the_builder_puts_there() {
    let (Some(training), Some(evaluation)) = (tasks("training"), tasks("evaluation")) else {
        return;
    };
    let (training, evaluation) = (&training[..40], &evaluation[..40]);
    let sources = [
        ArcSource {
            tasks: training,
            tests: TestUse::Train,
        },
        ArcSource {
            tasks: evaluation,
            tests: TestUse::Evaluate,
        },
    ];
    let sets = build_sets(&sources, settings(5)).unwrap();
    assert_eq!(sets.train.num_groups(), 80);
    assert_eq!(sets.test.num_groups(), 40);
    let all: Vec<ArcTask> = training.iter().chain(evaluation).cloned().collect();
    assert_labels_follow_the_tasks(&sets.train, &all);
    assert_labels_follow_the_tasks(&sets.test, &all);
    let names: HashSet<String> = sets.names.iter().map(|name| name.into_owned()).collect();
    assert_eq!(names.len(), sets.names.len());
    let tests: usize = evaluation.iter().map(|task| task.test.len()).sum();
    assert_eq!(sets.test.num_examples(), tests * 6);

    let folder = tempfile::tempdir().unwrap();
    sets.train.save(folder.path(), "train").unwrap();
    sets.test.save(folder.path(), "test").unwrap();
    for (split, set) in [("train", &sets.train), ("test", &sets.test)] {
        let loaded = PuzzleSet::load(folder.path(), split).unwrap();
        assert_eq!(loaded.fingerprint(), set.fingerprint(), "{split}");
        assert_eq!(loaded.identifiers(), set.identifiers(), "{split}");
        for index in (0..set.num_examples()).step_by(97) {
            assert_eq!(loaded.example(index), set.example(index), "{split} {index}");
        }
    }
}

#[test]
fn augmented_tasks_are_told_to_be_the_same() {
    let Some(concept) = tasks("concept") else {
        return;
    };
    let augmentation = ArcAugmentation::from_code(1_234_567).unwrap();
    let turned: Vec<ArcTask> = concept
        .iter()
        .take(30)
        .map(|task| ArcTask {
            id: format!("{} turned", task.id),
            ..augmentation.apply_task(task)
        })
        .collect();
    let leaks = find_leaks(&[("concept", &concept[..30]), ("turned", &turned)]);
    let found = leaks.iter().filter(|leak| {
        leak.second.1 == format!("{} turned", leak.first.1) && leak.kind <= LeakKind::Augmented
    });
    assert!(found.count() >= 29, "{leaks:#?}");
}
