//! What a configuration file, a preset or a user says about a checkpoint beside the shapes of its tensors.

use serde::Deserialize;

use super::error::StoreError;
use crate::config::{ComputeType, GradientSpan, HaltHead, HrmConfig, MixerKind, PositionKind};

/// Parts of a configuration; what is `None` is left to others. The sizes that the shapes of the tensors tell may be given
/// as well: they are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigHints {
    /// Cells of a puzzle, S.
    pub seq_len: Option<usize>,
    /// Attention heads.
    pub num_heads: Option<usize>,
    /// Outer cycles, N.
    pub h_cycles: Option<usize>,
    /// Updates of z_L per outer cycle, T.
    pub l_cycles: Option<usize>,
    /// Most segments of a puzzle, M.
    pub max_segments: Option<usize>,
    /// Puzzle positions, P. 0 means as few as hold a row of the table.
    pub puzzle_positions: Option<usize>,
    /// Position information; learned positions are told by the shapes.
    pub position: Option<PositionKind>,
    /// Which updates are differentiated. Where nobody says: the last update of HRM's levels, TRM's last cycle.
    pub gradient: Option<GradientSpan>,
    /// What the q head decides.
    pub halt_head: Option<HaltHead>,
    /// Number type of the computation. A file's `forward_dtype` is not read: f32 where nobody says otherwise.
    pub compute: Option<ComputeType>,
    /// Expansion of the SwiGLUs.
    pub expansion: Option<f64>,
    /// Number of token ids, V; compared.
    pub vocab_size: Option<usize>,
    /// Width, D; compared.
    pub hidden_size: Option<usize>,
    /// Blocks of the slow level, 0 for TRM; compared.
    pub h_layers: Option<usize>,
    /// Blocks of the fast or shared level; compared.
    pub l_layers: Option<usize>,
    /// Values of a row of the puzzle table, 0 for none; compared.
    pub puzzle_dim: Option<usize>,
    /// Mixer; compared.
    pub mixer: Option<MixerKind>,
    /// Path of the data trained on. Those of the published sets tell the number of cells.
    pub data_path: Option<String>,
}

impl ConfigHints {
    /// What a configuration says that shapes can't: of a preset, say.
    pub fn from_config(config: &HrmConfig, max_segments: Option<usize>) -> Self {
        Self {
            seq_len: Some(config.seq_len),
            num_heads: Some(config.num_heads),
            h_cycles: Some(config.h_cycles),
            l_cycles: Some(config.l_cycles),
            max_segments,
            puzzle_positions: config
                .puzzle_embedding
                .map(|puzzle| puzzle.positions.unwrap_or(0)),
            position: (config.position != PositionKind::Learned).then_some(config.position),
            gradient: Some(config.gradient),
            halt_head: Some(config.halt_head),
            compute: Some(config.compute),
            expansion: Some(config.expansion),
            ..Self::default()
        }
    }

    /// Reads an `all_config.yaml` of the reference programs, or only its part `arch`. `file` is named in messages.
    ///
    /// # Errors
    /// If the text is no YAML or a value is of a wrong type. Keys of no concern are ignored.
    pub fn from_yaml(text: &str, file: &str) -> Result<Self, StoreError> {
        if text.len() > MAX_YAML {
            let reason = format!("expected at most {MAX_YAML} bytes, found {}", text.len());
            return Err(StoreError::ConfigFile {
                file: file.into(),
                reason,
            });
        }
        let parsed: RunFile =
            serde_yaml_ng::from_str(text).map_err(|err| StoreError::ConfigFile {
                file: file.into(),
                reason: shortened(&err.to_string()),
            })?;
        let mut hints = parsed.arch.unwrap_or(parsed.flat).hints();
        hints.data_path = parsed.data_path.or(parsed.data_paths.into_iter().next());
        Ok(hints)
    }

    /// Reads a model's configuration in the words of the reference programs, as JSON.
    ///
    /// # Errors
    /// If the text is no JSON or a value is of a wrong type. Keys of no concern are ignored.
    pub fn from_official_json(text: &str, file: &str) -> Result<Self, StoreError> {
        serde_json::from_str::<Arch>(text)
            .map(Arch::hints)
            .map_err(|err| StoreError::ConfigFile {
                file: file.into(),
                reason: err.to_string(),
            })
    }

    /// These hints, completed by `other` where they say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            seq_len: self.seq_len.or(other.seq_len),
            num_heads: self.num_heads.or(other.num_heads),
            h_cycles: self.h_cycles.or(other.h_cycles),
            l_cycles: self.l_cycles.or(other.l_cycles),
            max_segments: self.max_segments.or(other.max_segments),
            puzzle_positions: self.puzzle_positions.or(other.puzzle_positions),
            position: self.position.or(other.position),
            gradient: self.gradient.or(other.gradient),
            halt_head: self.halt_head.or(other.halt_head),
            compute: self.compute.or(other.compute),
            expansion: self.expansion.or(other.expansion),
            vocab_size: self.vocab_size.or(other.vocab_size),
            hidden_size: self.hidden_size.or(other.hidden_size),
            h_layers: self.h_layers.or(other.h_layers),
            l_layers: self.l_layers.or(other.l_layers),
            puzzle_dim: self.puzzle_dim.or(other.puzzle_dim),
            mixer: self.mixer.or(other.mixer),
            data_path: self.data_path.or(other.data_path),
        }
    }

    /// Cells of the published data set that [`data_path`](Self::data_path) names, if its vocabulary is that of the model.
    pub(super) fn seq_len_of_data(&self, vocab_size: usize) -> Option<usize> {
        let path = self.data_path.as_ref()?.to_lowercase();
        [("sudoku", 11, 81), ("maze", 6, 900), ("arc", 12, 900)]
            .into_iter()
            .find(|&(name, vocab, _)| vocab == vocab_size && path.contains(name))
            .map(|(_, _, cells)| cells)
    }
}

/// The words of a parser, which may quote a whole file.
fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Longest configuration file.
const MAX_YAML: usize = 1 << 20;

/// `all_config.yaml`; or, where there is no `arch`, its keys at the top.
#[derive(Deserialize)]
struct RunFile {
    arch: Option<Arch>,
    data_path: Option<String>,
    #[serde(default)]
    data_paths: Vec<String>,
    #[serde(flatten)]
    flat: Arch,
}

/// The configuration of a model in the words of the reference programs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Arch {
    seq_len: Option<usize>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    num_heads: Option<usize>,
    expansion: Option<f64>,
    #[serde(rename = "H_layers")]
    h_layers: Option<usize>,
    #[serde(rename = "L_layers")]
    l_layers: Option<usize>,
    #[serde(rename = "H_cycles")]
    h_cycles: Option<usize>,
    #[serde(rename = "L_cycles")]
    l_cycles: Option<usize>,
    pos_encodings: Option<PositionKind>,
    puzzle_emb_ndim: Option<NumberOrReference>,
    puzzle_emb_len: Option<usize>,
    halt_max_steps: Option<usize>,
    mlp_t: Option<bool>,
    #[serde(rename = "no_ACT_continue")]
    no_act_continue: Option<bool>,
}

/// A file of single settings may refer to another, as in `${.hidden_size}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrReference {
    Number(usize),
    #[allow(dead_code, reason = "only its type matters")]
    Reference(String),
}

impl Arch {
    fn hints(self) -> ConfigHints {
        let mlp_t = self.mlp_t.unwrap_or(false);
        ConfigHints {
            seq_len: self.seq_len,
            num_heads: self.num_heads,
            h_cycles: self.h_cycles,
            l_cycles: self.l_cycles,
            max_segments: self.halt_max_steps,
            puzzle_positions: self.puzzle_emb_len,
            position: self.pos_encodings,
            gradient: None,
            halt_head: self.no_act_continue.map(|off| {
                if off {
                    HaltHead::HaltOnly
                } else {
                    HaltHead::QLearning
                }
            }),
            compute: None,
            expansion: self.expansion,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            // TRM has no slow level; its files, which know `mlp_t`, carry a number that it ignores.
            h_layers: self.h_layers.filter(|_| self.mlp_t.is_none()),
            l_layers: self.l_layers,
            puzzle_dim: match self.puzzle_emb_ndim {
                Some(NumberOrReference::Number(dim)) => Some(dim),
                _ => None,
            },
            mixer: mlp_t.then_some(MixerKind::Mlp),
            data_path: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: &str = "\
arch:
  H_cycles: 2
  H_layers: 4
  L_cycles: 2
  L_layers: 4
  expansion: 4
  halt_exploration_prob: 0.1
  halt_max_steps: 16
  hidden_size: 512
  loss:
    loss_type: stablemax_cross_entropy
    name: losses@ACTLossHead
  name: hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1
  num_heads: 8
  pos_encodings: rope
  puzzle_emb_ndim: 512
beta1: 0.9
data_path: data/sudoku-extreme-1k-aug-1000
epochs: 20000
";

    #[test]
    fn a_published_file_is_read() {
        let hints = ConfigHints::from_yaml(PUBLISHED, "all_config.yaml").unwrap();
        assert_eq!(
            (hints.num_heads, hints.h_cycles, hints.l_cycles),
            (Some(8), Some(2), Some(2))
        );
        assert_eq!((hints.max_segments, hints.expansion), (Some(16), Some(4.0)));
        assert_eq!((hints.seq_len, hints.puzzle_dim), (None, Some(512)));
        assert_eq!(hints.seq_len_of_data(11), Some(81));
        assert_eq!(hints.seq_len_of_data(12), None);
    }

    #[test]
    fn the_architecture_alone_is_read() {
        let text = "H_cycles: 3\nnum_heads: 8\nmlp_t: True\nH_layers: 0 # ignored\npuzzle_emb_ndim: ${.hidden_size}\nno_ACT_continue: True\n";
        let hints = ConfigHints::from_yaml(text, "trm.yaml").unwrap();
        assert_eq!(
            (hints.h_cycles, hints.puzzle_dim, hints.h_layers),
            (Some(3), None, None)
        );
        assert_eq!(
            (hints.mixer, hints.halt_head),
            (Some(MixerKind::Mlp), Some(HaltHead::HaltOnly))
        );
    }

    #[test]
    fn bad_files_name_what_is_wrong() {
        let message = |text: &str| {
            ConfigHints::from_yaml(text, "c.yaml")
                .unwrap_err()
                .to_string()
        };
        assert!(message("arch: {num_heads: -8}").starts_with("c.yaml: "));
        assert!(message("arch: {num_heads: eight}").contains("num_heads"));
        assert!(message("arch: {pos_encodings: circular}").contains("circular"));
        assert!(message("[1, 2]").starts_with("c.yaml: "));
        assert!(message(&"a".repeat(MAX_YAML + 1)).contains("at most"));
        let long = message(&"puzzle,".repeat(2_000));
        assert!(long.ends_with("...") && long.len() < 300, "{long}");
    }
}
