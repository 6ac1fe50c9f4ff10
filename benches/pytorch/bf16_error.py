"""Measures how far PyTorch's bfloat16 lies from its own float32, for the parts that `hrm conformance --compute bf16` compares:
a device may have twice as much (crates/hrm/src/conformance.rs holds the constants).

    python bf16_error.py --size small --seeds 5
    python bf16_error.py --size published --seeds 1

Prints, by quantity, the largest error of all seeds: of the largest value expected (of a gradient of a model: of
the norms; of answers: the share of unequal ones). Random inputs, of the distributions of the suite. Eager, on the CPU.
"""

import argparse
import statistics

import torch
import torch.nn.functional as F

from model import Config, Model, fresh_weights, rms_norm, rope_tables
from training import Batch, Rates, Trainer, token_loss

F32, BF16 = torch.float32, torch.bfloat16


def largest(found, expected):
    return ((found.float() - expected.float()).abs().max() / expected.float().abs().max()).item()


def norm(found, expected):
    size = expected.float().norm()
    return ((found.float() - expected.float()).norm() / (size if size > 0 else 1.0)).item()


def unequal(found, expected):
    return (found != expected).float().mean().item()


def apart(found, expected):
    near = 0.01 * expected.float().abs().max()
    return 1.0 - ((found.float() - expected.float()).abs() <= near).float().mean().item()


class Parts:
    """Each method gives {quantity: (measure, values)} in the type it is handed."""

    def __init__(self, size: str, seed: int):
        self.published, self.seed = size == "published", seed
        self.b, self.l, self.d, self.heads, self.vocab = (8, 97, 512, 8, 11) if self.published else (6, 17, 64, 4, 6)

    def values(self, seed, std, *shape):
        generator = torch.Generator().manual_seed(1000 * self.seed + seed)
        return torch.nn.init.trunc_normal_(torch.empty(shape), 0.0, 1.0, -2.0, 2.0, generator=generator) * (std / 0.8796256610342398)

    def with_gradient(self, part, x, function):
        x = x.detach().requires_grad_()
        y = function(x)
        (y.float() * self.values(99, 1.0, *y.shape)).sum().backward()
        return {part: (largest, y.detach()), f"{part}: gradient": (largest, x.grad)}

    def operations(self, dtype):
        b, l, d, heads = self.b, self.l, self.d, self.heads
        config = Config(seq_len=l, vocab_size=self.vocab, hidden_size=d, num_heads=heads, puzzle_dim=0)
        tables = rope_tables(config, torch.device("cpu"))
        value = lambda seed, std, *shape: self.values(seed, std, *shape).to(dtype)
        found = {}
        found |= self.with_gradient(
            "attention", value(1, 1.0, b, l, 3 * d),
            lambda qkv: self.attention_alone(qkv, tables),
        )
        found |= self.with_gradient("rope", value(2, 1.0, b, l, heads, d // heads), lambda x: self.rope(x, tables))
        y = value(4, 1.0, b, l, d)
        found |= self.with_gradient("norm", value(3, 1.0, b, l, d), lambda x: rms_norm(x + y))
        def gate(x):
            gate, up = x.chunk(2, -1)
            return F.silu(gate) * up
        found |= self.with_gradient("swiglu", value(5, 1.0, b, l, 6 * d), gate)
        gate_up, onwards = value(31, l**-0.5, 128, l), value(32, 0.125, l, 64)
        def mix(x):
            x = x.transpose(1, 2)
            return rms_norm(x + F.linear(gate(F.linear(x, gate_up)), onwards)).transpose(1, 2)
        found |= self.with_gradient("mixer over positions", value(30, 1.0, b, l, d), mix)
        cells = torch.arange(b * l).view(b, l)
        labels = torch.where((cells % 5 == 0) | (cells // l == b - 1), -100, cells * 7 % self.vocab)
        for kind in "stablemax", "softmax":
            found |= self.with_gradient(
                f"{kind} cross-entropy", value(6, 4.0, b, l, self.vocab),
                lambda logits: token_loss(kind, logits.float(), labels),
            )
        std = d**-0.5
        up, down, head = value(17, std, 2 * d, d), value(18, std, d, 2 * d), value(19, std, 2, d)
        bias = self.values(20, 1.0, 2)
        def narrow(x):
            z = rms_norm(x + F.linear(F.silu(F.linear(x, up)), down))
            return F.linear(z[:, 0], head).float() + bias
        found |= self.with_gradient("narrow q head of a batch", value(16, 1.0, b, l, d), narrow)
        tokens = torch.arange(b * l) * 5 % self.vocab
        rows = value(22, 1.0, b, d)
        wide = rope_tables(Config(seq_len=l + 1, vocab_size=1, hidden_size=d, num_heads=1, puzzle_dim=0), torch.device("cpu"))
        def embed(table):
            x = table.to(dtype)[tokens].view(b, l, d)
            x = torch.cat((rows[:, None], x), 1) * d**0.5
            return self.rope(x.view(b, l + 1, 1, d), wide)
        found |= self.with_gradient("select and cat of the input", self.values(21, 1.0, self.vocab, d), embed)
        weights = [value(24 + i, std, d, d) for i in range(4)]
        def chain(x):
            for weight in weights * 2:
                x = rms_norm(x + F.silu(F.linear(x, weight)))
            return x
        found |= self.with_gradient("chain of autotuned products", value(23, 1.0, b, l, d), chain)
        return found

    def rope(self, x, tables):
        cos, sin = (table.squeeze(2) for table in tables)
        first, second = x.float().chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)

    def attention_alone(self, qkv, tables):
        b, l, d, heads = self.b, self.l, self.d, self.heads
        q, k, v = qkv.view(b, l, 3, heads, d // heads).unbind(2)
        q, k = self.rope(q, tables), self.rope(k, tables)
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return mixed.transpose(1, 2).reshape(b, l, d)

    def configs(self, dtype, names):
        sizes = dict(seq_len=81, vocab_size=11) if self.published else dict(seq_len=16, vocab_size=6)
        sizes |= dict(max_segments=4, compute=dtype)
        if not self.published:
            sizes |= dict(hidden_size=64, num_heads=4, puzzle_dim=64, h_cycles=2, l_cycles=2)
        layers = 4 if self.published else 1
        trm = dict(h_layers=0, l_layers=2 if self.published else 1, last_cycle=True, continue_head=False)
        if self.published:
            # Longer recurrences of fresh weights are chaotic: after 3 x 6 cycles bf16 has no digit right.
            sizes |= dict(h_cycles=1, l_cycles=2)
            trm |= dict(puzzle_positions=16)
        known = {
            "hrm": Config(**sizes, h_layers=layers, l_layers=layers),
            "trm": Config(**sizes | trm),
            "mlp": Config(**sizes | trm, mlp_mixer=True, positions="none"),
        }
        return [known[name] for name in names]

    def weights(self, config, decisive):
        weights = fresh_weights(config, self.seed + 3, torch.device("cpu"))
        if decisive:
            weights["q_head.weight"] = self.values(8, 1.5 * config.hidden_size**-0.5, 2, config.hidden_size)
            weights["q_head.bias"] = self.values(8, 0.1, 2)
        return weights

    def puzzles(self, config, count, seed):
        """Solved grids with renamed digits and half of their cells taken out; token 1 is an empty cell."""
        side = int(config.seq_len**0.5)
        box = int(side**0.5)
        row = torch.arange(side)
        grid = (box * (row[:, None] % box) + row[:, None] // box + row[None, :]) % side
        generator = torch.Generator().manual_seed(77 * self.seed + seed)
        labels, inputs = [], []
        for _ in range(count):
            names = torch.randperm(side, generator=generator) + 2
            label = names[grid].flatten()
            hidden = torch.randperm(config.seq_len, generator=generator)[: config.seq_len // 2]
            puzzle = label.clone()
            puzzle[hidden] = 1
            labels.append(label)
            inputs.append(puzzle)
        zeros = torch.zeros(count, dtype=torch.long)
        return Batch(torch.stack(inputs), torch.stack(labels), zeros, zeros)

    def slots(self):
        return 8 if self.published else 6

    def segment(self, dtype):
        found = []
        for config in self.configs(dtype, ["hrm", "trm", "mlp"]):
            weights = self.weights(config, True)
            model = Model(config, torch.device("cpu"))
            cast = model.cast(weights)
            batch = self.puzzles(config, self.slots(), 1)
            x = model.embed(cast, batch.inputs, weights["puzzle_emb.weights"][batch.ids])
            state = tuple(z.expand_as(x) for z in model.start(weights))
            for _ in range(2):
                with torch.no_grad():
                    state, (logits, q_halt, _) = model.segment(cast, state, x)
                found.append({
                    "segment: z_h": (largest, state[0]), "segment: z_l": (largest, state[1]),
                    "segment: logits": (largest, logits), "segment: q_halt": (largest, q_halt),
                })
        return found

    def step(self, dtype):
        found = []
        for config in self.configs(dtype, ["hrm", "trm", "mlp"]):
            trainer = Trainer(config, Rates(), self.weights(config, True), self.slots(), "eager")
            first, _, _ = trainer.gradients(self.puzzles(config, self.slots(), 1))
            # Every second slot takes a new puzzle, whatever rounding makes of a close decision.
            trainer.carry = first.carry
            trainer.carry.halted = torch.arange(self.slots()) % 2 == 0
            step, gradients, rows = trainer.gradients(self.puzzles(config, self.slots(), 2))
            found.append({
                "training step: loss": (largest, step.loss.detach()[None]), "training step: q_halt": (largest, step.q[0]),
                "training step: halted": (unequal, step.carry.halted),
            })
            found += [{"training step: gradients": (norm, gradient)} for gradient in (*gradients.values(), rows)]
            trainer = self.trainer(config)
            weights = lambda: torch.cat([weight.detach().flatten() for weight in trainer.weights.values()])
            dense, rows = weights(), trainer.table.clone()
            for step in range(2):
                trainer.step(self.puzzles(config, self.slots(), 10 + step))
            found.append({
                "training step: weights moved": (apart, weights() - dense),
                "training step: puzzle rows moved": (apart, trainer.table - rows),
            })
        return found

    def trainer(self, config):
        rates = Rates(warmup=10) if config.continue_head else Rates(warmup=10, ema=0.999)
        return Trainer(config, rates, self.weights(config, False), self.slots(), "eager")

    def fifty_steps(self, dtype):
        found = []
        for config in self.configs(dtype, ["hrm", "mlp"]):
            trainer = self.trainer(config)
            norms = lambda: torch.stack([w.detach().norm() for _, w in sorted(trainer.weights.items())])
            start, losses = norms(), torch.zeros(5)
            for step in range(50):
                losses[step // 10] += trainer.step(self.puzzles(config, self.slots(), 10 + step)).loss.detach() / 10
            if config.mlp_mixer:
                # The suite reads TRM's metrics once, at the end.
                losses = losses.mean()[None]
            found.append({
                "50 training steps: loss": (largest, losses), "50 training steps: norms of the weights": (norm, norms() - start),
            })
        return found

    def adaptive(self, dtype):
        found = []
        for config in self.configs(dtype, ["hrm", "trm", "mlp"]):
            weights = self.weights(config, True)
            model = Model(config, torch.device("cpu"))
            cast = model.cast(weights)
            batch = self.puzzles(config, 64, 5)
            segments, answers = torch.zeros(64), torch.zeros_like(batch.inputs)
            with torch.no_grad():
                x = model.embed(cast, batch.inputs, weights["puzzle_emb.weights"][batch.ids])
                state = tuple(z.expand_as(x) for z in model.start(weights))
                running = torch.ones(64, dtype=torch.bool)
                for segment in range(8):
                    state, (logits, q_halt, q_continue) = model.segment(cast, state, x)
                    wants = q_halt > q_continue if config.continue_head else q_halt > 0
                    ends = running & (wants | (segment == 7))
                    segments[ends] = segment + 1.0
                    answers[ends] = logits.argmax(-1)[ends]
                    running &= ~ends
            found.append({
                "adaptive inference: segments": (unequal, segments), "adaptive inference: cells": (unequal, answers),
            })
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=["small", "published"], default="small")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--without-training", action="store_true", help="leave the 50 steps out")
    arguments = parser.parse_args()
    errors = {}
    for seed in range(arguments.seeds):
        parts = Parts(arguments.size, seed)
        computed = [lambda dtype: [parts.operations(dtype)], parts.segment, parts.step, parts.adaptive]
        if not arguments.without_training:
            computed.append(parts.fifty_steps)
        worst = {}
        for compute in computed:
            for found, expected in zip(compute(BF16), compute(F32)):
                for name, (measure, values) in found.items():
                    worst[name] = max(worst.get(name, 0.0), measure(values, expected[name][1]))
        for name, error in worst.items():
            errors.setdefault(name, []).append(error)
    print(f"torch {torch.__version__}, {arguments.size}, {arguments.seeds} seeds")
    for name, found in errors.items():
        print(f"{name:45} {max(found):.2e}  (mean {statistics.mean(found):.2e}, least {min(found):.2e})")


if __name__ == "__main__":
    main()
