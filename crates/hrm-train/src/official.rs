//! The training that an `all_config.yaml` of the reference programs tells of.

use hrm_act::LossKind;
use serde::Deserialize;

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::freeze::Freeze;

/// Longest configuration file.
const MAX_YAML: usize = 1 << 20;

/// What `all_config.yaml` says of the training; keys of no concern are ignored.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct RunFile {
    arch: Arch,
    lr: Option<f64>,
    weight_decay: Option<f64>,
    beta1: Option<f64>,
    beta2: Option<f64>,
    puzzle_emb_lr: Option<f64>,
    puzzle_emb_weight_decay: Option<f64>,
    lr_warmup_steps: Option<u64>,
    lr_min_ratio: Option<f64>,
    global_batch_size: Option<usize>,
    ema: Option<bool>,
    ema_rate: Option<f64>,
    freeze_weights: Option<bool>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Arch {
    halt_exploration_prob: Option<f64>,
    loss: Loss,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Loss {
    loss_type: Option<LossType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
enum LossType {
    #[serde(rename = "stablemax_cross_entropy")]
    Stablemax,
    #[serde(rename = "softmax_cross_entropy")]
    Softmax,
}

impl TrainConfig {
    /// Sets what an `all_config.yaml` of the reference programs says of the training: rates, decay, betas, warm-up, batch, averaging,
    /// exploration and loss. The model is that of the checkpoint beside it, and the epochs those of the recipe. `file` is named in
    /// messages. Says whether it told anything.
    ///
    /// # Errors
    /// If the text is no YAML, is longer than 1 MiB, or a value is of a wrong type or unknown. The configuration is then as it was.
    pub fn set_official(&mut self, text: &str, file: &str) -> Result<bool, TrainError> {
        let failed = |reason: String| TrainError::Official {
            file: file.to_owned(),
            reason,
        };
        if text.len() > MAX_YAML {
            let found = text.len();
            return Err(failed(format!(
                "expected at most {MAX_YAML} bytes, found {found}"
            )));
        }
        let told: RunFile =
            serde_yaml_ng::from_str(text).map_err(|error| failed(error.to_string()))?;
        if told == RunFile::default() {
            return Ok(false);
        }
        fn set<T>(field: &mut T, told: Option<T>) {
            if let Some(told) = told {
                *field = told;
            }
        }
        set(&mut self.optimizer.lr, told.lr);
        set(&mut self.optimizer.weight_decay, told.weight_decay);
        set(&mut self.optimizer.beta1, told.beta1);
        set(&mut self.optimizer.beta2, told.beta2);
        set(&mut self.puzzle_optimizer.lr, told.puzzle_emb_lr);
        set(
            &mut self.puzzle_optimizer.weight_decay,
            told.puzzle_emb_weight_decay,
        );
        set(&mut self.schedule.warmup_steps, told.lr_warmup_steps);
        set(&mut self.schedule.min_ratio, told.lr_min_ratio);
        set(&mut self.batch_size, told.global_batch_size);
        set(&mut self.act.exploration, told.arch.halt_exploration_prob);
        let loss = told.arch.loss.loss_type.map(|loss| match loss {
            LossType::Stablemax => LossKind::Stablemax,
            LossType::Softmax => LossKind::Softmax,
        });
        set(&mut self.act.loss, loss);
        match told.ema {
            Some(true) => self.ema = told.ema_rate.or(self.ema).or(Some(0.999)),
            Some(false) => self.ema = None,
            None => {}
        }
        set(
            &mut self.freeze,
            told.freeze_weights.map(|frozen| match frozen {
                true => Freeze::AllButPuzzles,
                false => Freeze::Nothing,
            }),
        );
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Preset, differences};
    use hrm_core::Sizes;

    fn recipe(name: &str) -> TrainConfig {
        Preset::by_name(name).unwrap().config_for_sizes(Sizes {
            seq_len: 81,
            vocab_size: 11,
            num_puzzle_ids: 1,
        })
    }

    #[test]
    fn a_file_of_the_whole_sudoku_set_turns_one_recipe_into_the_other() {
        let text = "\
arch: {halt_exploration_prob: 0.1, loss: {loss_type: softmax_cross_entropy, name: losses@ACTLossHead}, num_heads: 8}
beta1: 0.9
beta2: 0.95
data_path: data/sudoku-extreme-full
epochs: 100
global_batch_size: 2304
lr: 0.0003
lr_min_ratio: 0.1
lr_warmup_steps: 2000
puzzle_emb_lr: 0.0003
puzzle_emb_weight_decay: 0.1
weight_decay: 0.1
";
        let (mut found, expected) = (recipe("hrm-sudoku-1k"), recipe("hrm-sudoku-full"));
        assert!(found.set_official(text, "c.yaml").unwrap());
        assert_eq!(found.optimizer, expected.optimizer);
        assert_eq!(found.puzzle_optimizer, expected.puzzle_optimizer);
        assert_eq!(found.schedule, expected.schedule);
        assert_eq!(
            (found.batch_size, found.act.loss, found.ema),
            (2304, LossKind::Softmax, None)
        );
        assert_eq!(found.act.max_segments, 16, "the checkpoint's own");
    }

    #[test]
    fn every_key_sets_its_own_field() {
        let text = "\
arch: {halt_exploration_prob: 0.35, loss: {loss_type: softmax_cross_entropy}}
beta1: 0.81
beta2: 0.92
ema: true
ema_rate: 0.97
freeze_weights: true
global_batch_size: 90
lr: 0.002
lr_min_ratio: 0.8
lr_warmup_steps: 70
puzzle_emb_lr: 0.005
puzzle_emb_weight_decay: 0.6
weight_decay: 0.3
";
        let before = recipe("hrm-sudoku-1k");
        let (mut found, mut expected) = (before.clone(), before.clone());
        assert!(found.set_official(text, "c.yaml").unwrap());
        expected.optimizer.lr = 0.002;
        expected.optimizer.weight_decay = 0.3;
        expected.optimizer.beta1 = 0.81;
        expected.optimizer.beta2 = 0.92;
        expected.puzzle_optimizer.lr = 0.005;
        expected.puzzle_optimizer.weight_decay = 0.6;
        expected.schedule.warmup_steps = 70;
        expected.schedule.min_ratio = 0.8;
        expected.batch_size = 90;
        expected.act.exploration = 0.35;
        expected.act.loss = LossKind::Softmax;
        expected.ema = Some(0.97);
        expected.freeze = Freeze::AllButPuzzles;
        assert_eq!(found, expected);
        assert_eq!(differences(&before, &found).len(), 13, "each is another");
    }

    #[test]
    fn averaging_and_freezing_of_trm_are_read() {
        let mut config = recipe("trm-sudoku");
        let set = |config: &mut TrainConfig, text: &str| config.set_official(text, "c").unwrap();
        assert!(set(
            &mut config,
            "{ema: true, ema_rate: 0.99, freeze_weights: true}"
        ));
        assert_eq!(
            (config.ema, config.freeze),
            (Some(0.99), Freeze::AllButPuzzles)
        );
        assert!(set(&mut config, "{ema: false}"));
        assert_eq!(config.ema, None);
        let before = config.clone();
        assert!(!set(&mut config, "{num_heads: 8}"));
        assert_eq!(config, before);
    }

    #[test]
    fn bad_files_are_named_and_change_nothing() {
        let before = recipe("hrm-sudoku-1k");
        for (text, part) in [
            (
                "arch: {loss: {loss_type: hinge}}\nlr: 1",
                "unknown variant `hinge`",
            ),
            ("lr: fast", "lr: invalid type"),
            ("[1, 2]", "c.yaml: "),
        ] {
            let mut config = before.clone();
            let error = config.set_official(text, "c.yaml").unwrap_err().to_string();
            assert!(
                error.starts_with("c.yaml: ") && error.contains(part),
                "{error}"
            );
            assert_eq!(config, before);
        }
    }
}
