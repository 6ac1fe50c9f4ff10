"""HRM and TRM as functions of a dictionary of weights: one model family, told apart by a `Config`.

Weights keep the names of the published checkpoints (`H_level.layers.0.self_attn.qkv_proj.weight`), matrices are `[out, in]`
and f32. A computation in bf16 casts them once a step.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Config:
    seq_len: int
    vocab_size: int
    num_puzzle_ids: int = 1
    hidden_size: int = 512
    num_heads: int = 8
    expansion: float = 4.0
    h_layers: int = 4
    """Blocks of the slow level; 0: both roles are played by the fast one (TRM)."""
    l_layers: int = 4
    h_cycles: int = 2
    l_cycles: int = 2
    last_cycle: bool = False
    """Gradient through the whole last outer cycle (TRM) and not through the last update of each level only (HRM)."""
    mlp_mixer: bool = False
    positions: str = "rope"
    """`rope`, `learned` or `none`."""
    puzzle_dim: int = 512
    """Values of a row of the puzzle table; 0: no table."""
    puzzle_positions: int = 0
    """Positions that a row takes; 0: as few as hold it."""
    continue_head: bool = True
    """Halt where q_halt > q_continue, with a bootstrapped target for q_continue (HRM); else where q_halt > 0 (TRM)."""
    loss: str = "stablemax"
    max_segments: int = 16
    compute: torch.dtype = torch.float32

    @property
    def puzzle_len(self) -> int:
        return (self.puzzle_positions or -(-self.puzzle_dim // self.hidden_size)) if self.puzzle_dim else 0

    @property
    def total_len(self) -> int:
        return self.puzzle_len + self.seq_len

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    def swiglu_width(self, width: int) -> int:
        return -(-round(self.expansion * width * 2 / 3) // 256) * 256

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the dense weights: all that the dense optimizer trains."""
        d, v, length = self.hidden_size, self.vocab_size, self.total_len
        shapes = {"embed_tokens.embedding_weight": (v, d)}
        if self.positions == "learned":
            shapes["embed_pos.embedding_weight"] = (length, d)
        for level, layers in ("H", self.h_layers), ("L", self.l_layers):
            for i in range(layers):
                block = f"{level}_level.layers.{i}"
                if self.mlp_mixer:
                    inner = self.swiglu_width(length)
                    shapes[f"{block}.mlp_t.gate_up_proj.weight"] = (2 * inner, length)
                    shapes[f"{block}.mlp_t.down_proj.weight"] = (length, inner)
                else:
                    shapes[f"{block}.self_attn.qkv_proj.weight"] = (3 * d, d)
                    shapes[f"{block}.self_attn.o_proj.weight"] = (d, d)
                inner = self.swiglu_width(d)
                shapes[f"{block}.mlp.gate_up_proj.weight"] = (2 * inner, d)
                shapes[f"{block}.mlp.down_proj.weight"] = (d, inner)
        shapes |= {"lm_head.weight": (v, d), "q_head.weight": (2, d), "q_head.bias": (2,)}
        return shapes

    def flops(self) -> tuple[int, int]:
        """Multiplications and additions of the matrix products for one puzzle: of a segment without gradient, and of a
        training step. Counted as `hrm_core::HrmConfig::flops` counts them."""
        d, length = self.hidden_size, self.total_len

        def swiglu(width: int) -> int:
            return 6 * width * self.swiglu_width(width)

        mixer = d * swiglu(length) if self.mlp_mixer else length * 8 * d * d + 4 * length * length * d
        block = mixer + length * swiglu(d)
        fast, slow = self.l_layers * block, (self.h_layers or self.l_layers) * block
        updates = self.h_cycles * (self.l_cycles * fast + slow)
        heads = 2 * d * (self.seq_len * self.vocab_size + 2)
        tracked = (self.l_cycles if self.last_cycle else 1) * fast + slow
        target = updates + 4 * d if self.continue_head and self.max_segments > 1 else 0
        return updates + heads, updates + heads + 2 * (tracked + heads) + target


def fresh_weights(config: Config, seed: int, device: torch.device) -> Weights:
    """Dense weights, the puzzle table and the initial states, drawn on the CPU so that every device gets the same."""
    generator = torch.Generator().manual_seed(seed)

    def truncated(shape: tuple[int, ...], std: float) -> Tensor:
        # The standard deviation after the cut at 2 is `std`: the uncut one is larger by this factor.
        std /= 0.879625661034239
        values = torch.empty(shape)
        torch.nn.init.trunc_normal_(values, 0.0, std, -2 * std, 2 * std, generator=generator)
        return values

    weights = {}
    for name, shape in config.shapes().items():
        if name == "q_head.weight":
            weights[name] = torch.zeros(shape)
        elif name == "q_head.bias":
            weights[name] = torch.full(shape, -5.0)
        else:
            weights[name] = truncated(shape, shape[-1] ** -0.5)
    for name in "H_init", "L_init":
        weights[name] = truncated((config.hidden_size,), 1.0)
    if config.puzzle_dim:
        weights["puzzle_emb.weights"] = torch.zeros(config.num_puzzle_ids, config.puzzle_dim)
    return {name: value.to(device) for name, value in weights.items()}


def rope_tables(config: Config, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Cosines and sines `[L, 1, 1, head_dim / 2]` in f32, to broadcast over `[B, L, 2, heads, head_dim / 2]`."""
    if config.positions != "rope":
        return None
    half = config.head_dim // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(config.total_len, dtype=torch.float32)[:, None] * frequencies.float()
    angles = angles.double().view(-1, 1, 1, half)
    return angles.cos().float().to(device), angles.sin().float().to(device)


def rms_norm(x: Tensor, dim: int = -1) -> Tensor:
    """Without a scale, in f32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(dim, keepdim=True) + 1e-5)).to(x.dtype)


def onednn_constant(x: Tensor, weight: Tensor) -> Tensor:
    """`x · weightᵀ` of f32 by oneDNN on a CPU. PyTorch itself takes MKL for it, which runs at half the rate on AMD's processors. The
    compiler takes this for constant weights only, and packs them."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


@torch.library.custom_op("twin::onednn_product", mutates_args=())
def onednn_product(x: Tensor, weight: Tensor) -> Tensor:
    """The same for weights that change: the compiler leaves it as it is."""
    return onednn_constant(x, weight)


@onednn_product.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


class OneDnnLinear(torch.autograd.Function):
    """`onednn_product` with its gradients."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_product(x, weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        of_weight = onednn_product(grad.flatten(0, -2).t().contiguous(), x.flatten(0, -2).t().contiguous())
        return onednn_product(grad, weight.t().contiguous()), of_weight


LINEAR = {"torch": F.linear, "onednn": OneDnnLinear.apply, "onednn-constant": onednn_constant}
chosen_linear = "torch"


def choose_linear(kind: str) -> None:
    """What computes the products of all models from now on."""
    global chosen_linear
    chosen_linear = kind


def linear(x: Tensor, weight: Tensor) -> Tensor:
    # A head of two rows is no work for it.
    return LINEAR[chosen_linear if weight.shape[0] >= 16 else "torch"](x, weight)


def attention(x: Tensor, qkv: Tensor, out: Tensor, heads: int, tables: tuple[Tensor, Tensor] | None) -> Tensor:
    b, length, d = x.shape
    projected = linear(x, qkv).view(b, length, 3, heads, d // heads)
    if tables is None:
        q, k, v = projected.unbind(2)
    else:
        cos, sin = tables
        first, second = projected[:, :, :2].float().chunk(2, -1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)
        q, k = turned.unbind(2)
        v = projected[:, :, 2]
    mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return linear(mixed.transpose(1, 2).reshape(b, length, d), out)


class FromTheLeft(torch.autograd.Function):
    """`weight · x` for each slot. `torch.matmul` copies `x` with its sides exchanged where the weight has a gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.bmm(weight.expand(x.shape[0], -1, -1), x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        # In the memory order of the weight.
        if weight.is_contiguous():
            of_weight = torch.bmm(grad, x.mT).sum(0)
        else:
            of_weight = torch.bmm(x, grad.mT).sum(0).t()
        return torch.bmm(weight.t().expand(x.shape[0], -1, -1), grad), of_weight


def by_columns(weight: Tensor) -> Tensor:
    """The same matrix column by column in memory where its rows (of 97 values) start at places from which no wide load can be made."""
    return weight.t().contiguous().t() if weight.shape[1] % 8 else weight


def swiglu(x: Tensor, gate_up: Tensor, down: Tensor, product=linear, dim: int = -1) -> Tensor:
    gate, up = product(x, gate_up).chunk(2, dim)
    return product(F.silu(gate) * up, down)


def level(blocks: list[tuple[Tensor, ...]], z: Tensor, injection: Tensor, heads: int, mixer: str, tables) -> Tensor:
    """One update of a state: post-norm blocks over `z + injection`. A block is (mixer in, mixer out, gate and up, down)."""
    x = z + injection
    for mix_in, mix_out, gate_up, down in blocks:
        # The norm of an MLP over the positions averages over them.
        if mixer == "left":
            x = rms_norm(x + swiglu(x, mix_in, mix_out, FromTheLeft.apply, 1), 1)
        elif mixer == "right":
            across = x.transpose(1, 2)
            x = rms_norm(across + swiglu(across, mix_in, mix_out)).transpose(1, 2)
        else:
            x = rms_norm(x + attention(x, mix_in, mix_out, heads, tables))
        x = rms_norm(x + swiglu(x, gate_up, down))
    return x


class Model:
    """The recurrence over weights handed in. `compile_level` makes every update one compiled call: H and L share the code.

    `mixer` says where the weights of an MLP over the positions stand in its products: on the `left`, which exchanges nothing in
    memory, or on the `right` of the exchanged state; without it on the left on CUDA and on the right elsewhere.
    """

    def __init__(
        self, config: Config, device: torch.device, compile_level=lambda function: function, mixer: str | None = None
    ):
        self.config = config
        self.mixer = mixer or ("left" if device.type == "cuda" else "right")
        if not config.mlp_mixer:
            self.mixer = "attention"
        self.tables = rope_tables(config, device)
        self.level = compile_level(level)

    def cast(self, weights: Weights) -> Weights:
        """The dense weights in the compute type, laid out for the mixer. The q head's bias is added in f32."""
        cast = {name: w if name == "q_head.bias" else w.to(self.config.compute) for name, w in weights.items()}
        if self.mixer == "left":
            cast |= {name: by_columns(w) for name, w in cast.items() if ".mlp_t." in name}
        return cast

    def blocks(self, weights: Weights, name: str) -> list[tuple[Tensor, ...]]:
        c = self.config
        layers = c.h_layers if name == "H" else c.l_layers
        mixer = ("mlp_t.gate_up_proj", "mlp_t.down_proj") if c.mlp_mixer else ("self_attn.qkv_proj", "self_attn.o_proj")
        parts = (*mixer, "mlp.gate_up_proj", "mlp.down_proj")
        return [tuple(weights[f"{name}_level.layers.{i}.{part}.weight"] for part in parts) for i in range(layers)]

    def embed(self, weights: Weights, inputs: Tensor, rows: Tensor | None) -> Tensor:
        """`[B, S]` ids and `[B, E]` rows of the puzzle table to `[B, L, D]`."""
        c = self.config
        x = F.embedding(inputs, weights["embed_tokens.embedding_weight"])
        if rows is not None:
            rows = F.pad(rows.to(x.dtype), (0, c.puzzle_len * c.hidden_size - c.puzzle_dim))
            x = torch.cat((rows.view(-1, c.puzzle_len, c.hidden_size), x), 1)
        if c.positions == "learned":
            x = (x + weights["embed_pos.embedding_weight"]) * math.sqrt(0.5)
        return x * math.sqrt(c.hidden_size)

    def start(self, weights: Weights) -> State:
        """`[1, 1, D]` each."""
        return tuple(weights[name].to(self.config.compute).view(1, 1, -1) for name in ("H_init", "L_init"))

    def update_l(self, blocks, state: State, x: Tensor) -> State:
        z_h, z_l = state
        return z_h, self.level(blocks["L"], z_l, z_h + x, self.config.num_heads, self.mixer, self.tables)

    def update_h(self, blocks, state: State) -> State:
        z_h, z_l = state
        return self.level(blocks["H"], z_h, z_l, self.config.num_heads, self.mixer, self.tables), z_l

    def all_blocks(self, weights: Weights):
        fast = self.blocks(weights, "L")
        return {"L": fast, "H": self.blocks(weights, "H") if self.config.h_layers else fast}

    def warm_updates(self, blocks, state: State, x: Tensor) -> State:
        """All updates that are never differentiated."""
        c = self.config
        for cycle in range(c.h_cycles):
            last = cycle + 1 == c.h_cycles
            if last and c.last_cycle:
                break
            for _ in range(c.l_cycles - last):
                state = self.update_l(blocks, state, x)
            if not last:
                state = self.update_h(blocks, state)
        return state

    def last_updates(self, blocks, state: State, x: Tensor) -> State:
        for _ in range(self.config.l_cycles if self.config.last_cycle else 1):
            state = self.update_l(blocks, state, x)
        return self.update_h(blocks, state)

    def q_values(self, weights: Weights, z_h: Tensor) -> tuple[Tensor, Tensor]:
        q = F.linear(z_h[:, 0], weights["q_head.weight"]).float() + weights["q_head.bias"]
        return q[:, 0], q[:, 1]

    def read_out(self, weights: Weights, z_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits `[B, S, V]`, q_halt and q_continue `[B]`, all f32."""
        logits = F.linear(z_h[:, self.config.puzzle_len :], weights["lm_head.weight"]).float()
        return logits, *self.q_values(weights, z_h)

    def segment(self, weights: Weights, state: State, x: Tensor) -> tuple[State, tuple[Tensor, Tensor, Tensor]]:
        """One segment without gradient; weights in the compute type."""
        blocks = self.all_blocks(weights)
        state = self.warm_updates(blocks, state, x)
        state = self.last_updates(blocks, state, x)
        return state, self.read_out(weights, state[0])
