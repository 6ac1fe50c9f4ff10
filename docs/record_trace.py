"""Writes a trace for `hrm conformance` (docs/parity.md gives the layout). Needs numpy and safetensors only.

    pip install numpy safetensors
    python docs/record_trace.py --out mine.safetensors --hidden 48 --heads 6 --h-cycles 3 --l-cycles 4 --seq-len 25 --batch 3
    hrm conformance --trace mine.safetensors

As it stands it records inference, computed here in float64 by an implementation of its own: nothing is shared with the
Rust program but the description of the model. To record another program, import `Trace` and hand it that program's arrays;
`put_step` takes what a training step has.
"""

import argparse
import json
import math

import numpy as np
from safetensors.numpy import save_file


class Trace:
    """Gathers arrays under the names of the layout. Arrays may be anything numpy understands."""

    def __init__(self, config, optimizer=None):
        self.config = config
        self.optimizer = optimizer or {
            "lr": 1e-4, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.95, "puzzle_emb_lr": 1e-4,
            "puzzle_emb_weight_decay": 0.0, "ema": 0.999, "train_steps": 0,
        }
        self.tensors = {}

    def put(self, name, array):
        array = np.asarray(array)
        if array.dtype == np.bool_:
            array = array.astype(np.uint8)
        elif array.dtype.kind in "iu":
            array = array.astype(np.int32)
        else:
            array = array.astype(np.float32)
        self.tensors[name] = np.ascontiguousarray(array)

    def put_weights(self, group, weights):
        """`group`: weights at the start, final after the last step, ema their average (dense ones only)."""
        for name, array in weights.items():
            self.put(f"{group}/inner.{name}", array)

    def put_batch(self, group, inputs, labels, puzzle_identifiers):
        """`[B, S]`, `[B, S]` with -100 where ignored, `[B]`."""
        self.put(f"{group}/inputs", inputs)
        self.put(f"{group}/labels", labels)
        self.put(f"{group}/puzzle_identifiers", puzzle_identifiers)

    def put_segment(self, segment, z_h, z_l, logits, q_halt, q_continue):
        """Evaluation, segments 0 to 2, the carry running on."""
        for name, array in dict(z_H=z_h, z_L=z_l, logits=logits, q_halt=q_halt, q_continue=q_continue).items():
            self.put(f"infer/segment{segment}/{name}", array)

    def put_step(self, t, batch, min_steps, halted, steps, q_halt_logits, q_continue_logits, slots, target=None, gradients=None):
        """Training step `t`, from 1. `slots`: the puzzle ids in the slots after the step. `gradients`: of step 1, with
        `puzzle_emb_rows` for the rows of the slots."""
        self.put_batch(f"train/step{t}/batch", *batch)
        arrays = dict(min_steps=min_steps, halted=halted, steps=steps, q_halt_logits=q_halt_logits, q_continue_logits=q_continue_logits)
        for name, array in arrays.items():
            self.put(f"train/step{t}/{name}", array)
        self.put(f"train/step{t}/current/puzzle_identifiers", slots)
        if target is not None:
            self.put(f"train/step{t}/target_q_continue", target)
        for name, array in (gradients or {}).items():
            rows = name == "puzzle_emb_rows"
            self.put(f"train/step{t}/grad/{name if rows else 'inner.' + name}", array)

    def put_sums(self, **sums):
        """One value per step: lm_loss, q_halt_loss, q_continue_loss, loss, count, accuracy, exact_accuracy, q_halt_accuracy, steps."""
        for name, values in sums.items():
            self.put(f"train/{name}", np.asarray(values, dtype=np.float32))

    def save(self, path):
        save_file(self.tensors, path, {"config": json.dumps(self.config), "optimizer": json.dumps(self.optimizer)})


# The model in float64.


def norm(x):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def swiglu(x, up, down):
    gate, value = np.split(x @ up.T, 2, axis=-1)
    return (gate / (1 + np.exp(-gate)) * value) @ down.T


def rope(x):
    """`[B, heads, L, head_dim]`, half-split."""
    length, width = x.shape[-2:]
    angles = np.arange(length)[:, None] * 10000.0 ** (-2 * np.arange(width // 2) / width)
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)


def attention(x, qkv, out, heads, rotate):
    b, length, d = x.shape
    q, k, v = (part.reshape(b, length, heads, d // heads).swapaxes(1, 2) for part in np.split(x @ qkv.T, 3, axis=-1))
    if rotate:
        q, k = rope(q), rope(k)
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(d // heads)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = scores / scores.sum(-1, keepdims=True) @ v
    return mixed.swapaxes(1, 2).reshape(b, length, d) @ out.T


class Model:
    def __init__(self, config, rng):
        self.c = config
        c, w = config, {}
        d, v = c["hidden_size"], c["vocab_size"]
        dim = c["puzzle_emb_ndim"]
        self.p = (c.get("puzzle_emb_len") or -(-dim // d)) if dim else 0
        self.length = self.p + c["seq_len"]

        def linear(out, into):
            # What a trace holds is f32, so that is what is computed with.
            return (rng.standard_normal((out, into)) / math.sqrt(into)).astype(np.float32).astype(np.float64)

        def inner(width):
            return math.ceil(round(c["expansion"] * width * 2 / 3) / 256) * 256

        w["embed_tokens.embedding_weight"] = linear(v, d)
        w["lm_head.weight"] = linear(v, d)
        w["q_head.weight"] = linear(2, d)
        w["q_head.bias"] = linear(2, 1)[:, 0]
        w["H_init"], w["L_init"] = linear(d, 1)[:, 0], linear(d, 1)[:, 0]
        if dim:
            w["puzzle_emb.weights"] = linear(c["num_puzzle_identifiers"], dim)
        if c["pos_encodings"] == "learned":
            w["embed_pos.embedding_weight"] = linear(self.length, d)
        for level, layers in ("H", c["H_layers"]), ("L", c["L_layers"]):
            for i in range(layers):
                block = f"{level}_level.layers.{i}"
                if c["mlp_t"]:
                    w[f"{block}.mlp_t.gate_up_proj.weight"] = linear(2 * inner(self.length), self.length)
                    w[f"{block}.mlp_t.down_proj.weight"] = linear(self.length, inner(self.length))
                else:
                    w[f"{block}.self_attn.qkv_proj.weight"] = linear(3 * d, d)
                    w[f"{block}.self_attn.o_proj.weight"] = linear(d, d)
                w[f"{block}.mlp.gate_up_proj.weight"] = linear(2 * inner(d), d)
                w[f"{block}.mlp.down_proj.weight"] = linear(d, inner(d))
        self.w = w

    def level(self, name, x):
        c, w = self.c, self.w
        name = "L" if c["model"] == "trm" else name
        for i in range(c[f"{name}_layers"]):
            block = f"{name}_level.layers.{i}"
            get = lambda part: w[f"{block}.{part}.weight"]
            if c["mlp_t"]:
                across = x.swapaxes(1, 2)
                x = norm(across + swiglu(across, get("mlp_t.gate_up_proj"), get("mlp_t.down_proj"))).swapaxes(1, 2)
            else:
                rotate = c["pos_encodings"] == "rope"
                x = norm(x + attention(x, get("self_attn.qkv_proj"), get("self_attn.o_proj"), c["num_heads"], rotate))
            x = norm(x + swiglu(x, get("mlp.gate_up_proj"), get("mlp.down_proj")))
        return x

    def embed(self, inputs, ids):
        d, w = self.c["hidden_size"], self.w
        x = w["embed_tokens.embedding_weight"][inputs]
        if self.p:
            rows = np.zeros((len(ids), self.p * d))
            rows[:, : self.c["puzzle_emb_ndim"]] = w["puzzle_emb.weights"][ids]
            x = np.concatenate([rows.reshape(len(ids), self.p, d), x], 1)
        if "embed_pos.embedding_weight" in w:
            x = (x + w["embed_pos.embedding_weight"]) / math.sqrt(2)
        return x * math.sqrt(d)

    def start(self, batch):
        shape = (batch, self.length, self.c["hidden_size"])
        return np.broadcast_to(self.w["H_init"], shape), np.broadcast_to(self.w["L_init"], shape)

    def segment(self, z_h, z_l, x):
        for _ in range(self.c["H_cycles"]):
            for _ in range(self.c["L_cycles"]):
                z_l = self.level("L", z_l + z_h + x)
            z_h = self.level("H", z_h + z_l)
        q = z_h[:, 0] @ self.w["q_head.weight"].T + self.w["q_head.bias"]
        logits = z_h[:, self.p :] @ self.w["lm_head.weight"].T
        return z_h, z_l, logits, q[:, 0], q[:, 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--model", choices=["hrm", "trm"], default="hrm")
    parser.add_argument("--mlp", action="store_true", help="TRM's MLP over the positions instead of attention")
    parser.add_argument("--positions", choices=["rope", "learned", "none"], default="rope")
    for name, value in dict(
        hidden=64, heads=4, h_cycles=2, l_cycles=2, layers=2, seq_len=16, vocab=11, batch=4, puzzle_dim=64, puzzle_len=0, puzzles=5, seed=0
    ).items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    parser.add_argument("--expansion", type=float, default=4.0)
    a = parser.parse_args()
    config = {
        "model": a.model, "loss_type": "stablemax_cross_entropy", "batch_size": a.batch, "seq_len": a.seq_len,
        "vocab_size": a.vocab, "num_puzzle_identifiers": a.puzzles, "puzzle_emb_ndim": a.puzzle_dim,
        "puzzle_emb_len": a.puzzle_len, "H_cycles": a.h_cycles, "L_cycles": a.l_cycles,
        "H_layers": a.layers if a.model == "hrm" else 0, "L_layers": a.layers, "hidden_size": a.hidden,
        "expansion": a.expansion, "num_heads": a.heads, "pos_encodings": a.positions, "halt_max_steps": 4,
        "halt_exploration_prob": 0.0, "mlp_t": a.mlp,
    }
    rng = np.random.default_rng(a.seed)
    model = Model(config, rng)
    inputs = rng.integers(0, a.vocab, (a.batch, a.seq_len))
    ids = rng.integers(0, a.puzzles, a.batch)
    trace = Trace(config)
    trace.put_weights("weights", model.w)
    trace.put_batch("infer/batch", inputs, inputs, ids)
    x = model.embed(inputs, ids)
    z_h, z_l = model.start(a.batch)
    for segment in range(3):
        z_h, z_l, logits, q_halt, q_continue = model.segment(z_h, z_l, x)
        trace.put_segment(segment, z_h, z_l, logits, q_halt, q_continue)
    trace.save(a.out)
    print(f"{a.out}: {len(trace.tensors)} tensors")


if __name__ == "__main__":
    main()
