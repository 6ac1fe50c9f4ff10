//! The weights by name: what optimizers, averages, checkpoints, imports and exports walk over.
//!
//! The names are those of the reference programs without their prefixes, such as `H_level.layers.0.mlp.down_proj.weight`;
//! matrices are `[out, in]` on both sides, so that a name and a flat tensor say all.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

use crate::model::Hrm;

/// What a weight is to the optimizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightRole {
    /// Trained by the dense optimizer.
    Dense,
    /// The puzzle table, trained row by row by the sparse optimizer.
    PuzzleTable,
    /// An initial state: saved, never trained.
    InitialState,
}

/// One weight of a model.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Official name, without prefix.
    pub name: String,
    /// What it is to the optimizers.
    pub role: WeightRole,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, flat and outside any graph.
    pub value: Tensor<1>,
}

/// Values of a piece: 64 MiB in f32.
const PIECE: usize = 1 << 24;

impl Weight {
    /// The values in pieces, in their order, so that a large table need not be held twice to be written.
    pub fn pieces(&self) -> impl Iterator<Item = Tensor<1>> + '_ {
        let [len] = self.value.dims();
        (0..len).step_by(PIECE).map(move |first| {
            let last = (first + PIECE).min(len);
            self.value.clone().slice(first..last)
        })
    }
}

impl Hrm {
    /// All weights in a fixed order.
    pub fn weights(&self) -> Vec<Weight> {
        let mut collect = Collect::default();
        self.visit(&mut collect);
        collect.weights
    }

    /// The model with every weight replaced by what `replace` makes of its name, role and flat value. The values handed
    /// out and taken back are outside any graph; what was trainable stays so.
    ///
    /// # Panics
    /// If a replacement has another number of values.
    #[must_use]
    pub fn map_weights(
        self,
        replace: impl FnMut(&str, WeightRole, Tensor<1>) -> Tensor<1>,
    ) -> Self {
        self.map(&mut Replace {
            path: Vec::new(),
            replace,
        })
    }

    /// Takes the gradients of the dense weights out of `gradients`, flat and by name. A weight that the loss doesn't
    /// depend on is left out.
    pub fn take_gradients(&self, gradients: &mut Gradients) -> BTreeMap<String, Tensor<1>> {
        let mut take = Take {
            path: Vec::new(),
            gradients,
            taken: BTreeMap::new(),
        };
        self.visit(&mut take);
        take.taken
    }
}

/// Official name and role of the parameter at a path of field names.
fn official(path: &[String]) -> (String, WeightRole) {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["embed_tokens"] => ("embed_tokens.embedding_weight".into(), WeightRole::Dense),
        ["embed_pos"] => ("embed_pos.embedding_weight".into(), WeightRole::Dense),
        ["puzzle_emb"] => ("puzzle_emb.weights".into(), WeightRole::PuzzleTable),
        ["q_head_weight"] => ("q_head.weight".into(), WeightRole::Dense),
        ["q_head_bias"] => ("q_head.bias".into(), WeightRole::Dense),
        ["h_init"] => ("H_init".into(), WeightRole::InitialState),
        ["l_init"] => ("L_init".into(), WeightRole::InitialState),
        ["h_level", rest @ ..] => (
            format!("H_level.{}.weight", rest.join(".")),
            WeightRole::Dense,
        ),
        ["l_level", rest @ ..] => (
            format!("L_level.{}.weight", rest.join(".")),
            WeightRole::Dense,
        ),
        rest => (format!("{}.weight", rest.join(".")), WeightRole::Dense),
    }
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let count = tensor.dims().iter().product::<usize>();
    tensor.reshape([count])
}

#[derive(Default)]
struct Collect {
    path: Vec<String>,
    weights: Vec<Weight>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (name, role) = official(&self.path);
        let value = param.val().without_autodiff();
        self.weights.push(Weight {
            name,
            role,
            shape: value.dims().to_vec(),
            value: flat(value),
        });
    }
}

struct Replace<F> {
    path: Vec<String>,
    replace: F,
}

impl<F: FnMut(&str, WeightRole, Tensor<1>) -> Tensor<1>> ModuleMapper for Replace<F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (name, role) = official(&self.path);
        let (id, tensor, mapper) = param.consume();
        let (autodiff, trainable) = (tensor.is_autodiff(), tensor.is_require_grad());
        let shape = tensor.shape();
        let flat = flat(tensor.without_autodiff());
        let mut value = (self.replace)(&name, role, flat).reshape::<D, _>(shape);
        if autodiff {
            value = value.autodiff();
        }
        if trainable {
            value = value.require_grad();
        }
        Param::from_mapped_value(id, value, mapper)
    }
}

struct Take<'a> {
    path: Vec<String>,
    gradients: &'a mut Gradients,
    taken: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Take<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (name, role) = official(&self.path);
        if role == WeightRole::Dense
            && let Some(gradient) = param.val().grad_remove(self.gradients)
        {
            self.taken.insert(name, flat(gradient));
        }
    }
}
