"""One training step: adaptive computation time with a carry, the losses, AdamAtan2 and sparse SignSGD.

Nothing is read back by the host inside a step.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model import Config, Model, State, Weights

IGNORED = -100


@dataclass(frozen=True)
class Rates:
    lr: float = 1e-4
    weight_decay: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.95
    puzzle_lr: float = 1e-4
    puzzle_weight_decay: float = 1.0
    ema: float | None = None
    warmup: int = 0


@dataclass
class Batch:
    inputs: Tensor
    """`[B, S]`"""
    labels: Tensor
    """`[B, S]`, -100 where ignored"""
    ids: Tensor
    """`[B]`"""
    min_steps: Tensor
    """`[B]` draws of exploration, 0 for none"""


@dataclass
class Carry:
    state: State
    steps: Tensor
    halted: Tensor
    inputs: Tensor
    labels: Tensor
    ids: Tensor


def token_loss(kind: str, logits: Tensor, labels: Tensor) -> Tensor:
    """`[B]`: the sum over the valid cells over their number (1 where there is none)."""
    valid = labels != IGNORED
    safe = labels.clamp_min(0).unsqueeze(-1)
    if kind == "softmax":
        cells = -F.log_softmax(logits, -1).gather(-1, safe).squeeze(-1)
    else:
        mass = torch.where(logits < 0, 1 / (1 - logits.clamp_max(0)), logits + 1)
        # ln(sum / own) by the others' mass, which keeps its digits where own is nearly all.
        is_label = torch.arange(logits.shape[-1], device=logits.device) == safe
        own = (mass * is_label).sum(-1)
        cells = torch.log1p((mass * ~is_label).sum(-1) / own)
    return torch.where(valid, cells, 0).sum(-1) / valid.sum(-1).clamp_min(1)


def adam_atan2(p: Tensor, m: Tensor, v: Tensor, g: Tensor, scalars: Tensor, rates: Rates) -> None:
    """In place. `scalars`: lr, lr / (1 - b1^t), 1 / sqrt(1 - b2^t)."""
    lr, rate, root = scalars.unbind()
    m.lerp_(g, 1 - rates.beta1)
    v.lerp_(g * g, 1 - rates.beta2)
    p.copy_(p * (1 - lr * rates.weight_decay) - rate * torch.atan2(m, v.sqrt() * root))


def sign_sgd_rows(table: Tensor, ids: Tensor, gradient: Tensor, lr: Tensor, weight_decay: float) -> None:
    """In place, the rows `ids` only; gradients of equal ids are summed."""
    first = (ids[:, None] == ids[None, :]).int().argmax(1)
    sums = torch.zeros_like(gradient).index_add_(0, first, gradient)[first]
    # Slots of one id write equal values.
    table[ids] = table[ids] * (1 - lr * weight_decay) - lr * sums.sign()


@dataclass
class Step:
    carry: Carry
    loss: Tensor
    sums: dict[str, Tensor]
    """Losses summed over the slots, and the metrics' sums over those that halted and have a valid cell."""
    q: tuple[Tensor, Tensor]
    target: Tensor | None


class Trainer:
    """Weights, moments and carry of a run.

    `unit` says what `torch.compile` gets: nothing (`eager`), each update of a level (`level`), or the whole
    forward pass of a step with its backward (`step`). The optimizer is compiled unless `eager`. `mixer` is the model's.
    """

    @dataclass
    class Copy:
        """What a step changes."""

        step_count: int
        tensors: list[Tensor | None]

    def __init__(
        self, config: Config, rates: Rates, weights: Weights, batch_size: int, unit: str = "step", mixer: str | None = None
    ):
        self.config, self.rates, self.batch_size = config, rates, batch_size
        device = weights["lm_head.weight"].device
        compiled = lambda function: torch.compile(function, dynamic=False)
        plain = lambda function: function
        self.model = Model(config, device, compiled if unit == "level" else plain, mixer)
        self.forward = compiled(self.act_step) if unit == "step" else self.act_step
        self.fixed = {name: weights[name] for name in weights if name not in config.shapes()}
        self.table = self.fixed.get("puzzle_emb.weights")
        # One buffer holds all dense weights, each at a multiple of 64 values, and so do the moments: an update of the
        # whole buffer is one kernel.
        self.shapes = config.shapes()
        self.places, end = {}, 0
        for name, shape in self.shapes.items():
            self.places[name] = end
            end += -(-math.prod(shape) // 64) * 64
        self.flat, self.m, self.v = (torch.zeros(end, device=device) for _ in range(3))
        self.gradient = torch.zeros(end, device=device) if device.type == "cuda" else None
        self.weights = self.views(self.flat)
        for name, view in self.weights.items():
            view.copy_(weights[name])
            view.requires_grad_()
        self.ema = self.flat.clone() if rates.ema is not None else None
        self.update = torch.compile(adam_atan2, dynamic=True) if unit != "eager" else adam_atan2
        self.update_rows = compiled(sign_sgd_rows) if unit != "eager" else sign_sgd_rows
        self.step_count = 0
        self.scalars = torch.zeros(3, device=device)
        self.puzzle_lr = torch.zeros((), device=device)
        self.carry = self.empty_carry(device)

    def views(self, flat: Tensor) -> Weights:
        return {n: flat[self.places[n] : self.places[n] + math.prod(s)].view(s) for n, s in self.shapes.items()}

    def empty_carry(self, device: torch.device) -> Carry:
        c, b = self.config, self.batch_size
        states = tuple(torch.zeros(b, c.total_len, c.hidden_size, dtype=c.compute, device=device) for _ in range(2))
        cells = lambda: torch.zeros(b, c.seq_len, dtype=torch.long, device=device)
        counts = lambda: torch.zeros(b, dtype=torch.long, device=device)
        return Carry(states, counts(), torch.ones(b, dtype=torch.bool, device=device), cells(), cells(), counts())

    def refill(self, carry: Carry, batch: Batch) -> Carry:
        halted = carry.halted
        rows, cells = halted.view(-1, 1, 1), halted.view(-1, 1)
        state = tuple(torch.where(rows, start, z) for start, z in zip(self.model.start(self.fixed), carry.state))
        return Carry(
            state,
            torch.where(halted, 0, carry.steps),
            halted,
            torch.where(cells, batch.inputs, carry.inputs),
            torch.where(cells, batch.labels, carry.labels),
            torch.where(halted, batch.ids, carry.ids),
        )

    def act_step(self, weights: Weights, rows: Tensor | None, carry: Carry, min_steps: Tensor) -> Step:
        """One segment of every slot with its losses; `carry` is refilled already."""
        c, model = self.config, self.model
        weights = model.cast(weights)
        blocks = model.all_blocks(weights)
        x = model.embed(weights, carry.inputs, rows)
        with torch.no_grad():
            quiet_weights = {name: w.detach() for name, w in weights.items()}
            quiet, quiet_x = model.all_blocks(quiet_weights), x.detach()
            state = model.warm_updates(quiet, carry.state, quiet_x)
        state = model.last_updates(blocks, state, x)
        logits, q_halt, q_continue = model.read_out(weights, state[0])
        state = tuple(z.detach() for z in state)
        steps = carry.steps + 1
        last = steps >= c.max_segments
        with torch.no_grad():
            halted, target = last, None
            if c.max_segments > 1:
                wants = q_halt > q_continue if c.continue_head else q_halt > 0
                halted = (last | wants) & (steps >= min_steps)
            if c.max_segments > 1 and c.continue_head:
                ahead = model.warm_updates(quiet, state, quiet_x)
                ahead = model.last_updates(quiet, ahead, quiet_x)
                next_halt, next_continue = model.q_values(quiet_weights, ahead[0])
                target = torch.sigmoid(torch.where(last, next_halt, torch.maximum(next_halt, next_continue)))
            valid = carry.labels != IGNORED
            right = (logits.argmax(-1) == carry.labels) & valid
            cells, right = valid.sum(-1), right.sum(-1)
            exact = right == cells
        lm = token_loss(c.loss, logits, carry.labels)
        halt = F.binary_cross_entropy_with_logits(q_halt, exact.float(), reduction="none")
        go_on = None if target is None else F.binary_cross_entropy_with_logits(q_continue, target, reduction="none")
        total = (lm + 0.5 * (halt if go_on is None else halt + go_on)).sum()
        with torch.no_grad():
            counted = (halted & (cells > 0)).float()
            sums = {
                "lm_loss": lm.sum(), "q_halt_loss": halt.sum(), "loss": total, "count": counted.sum(),
                "accuracy": (counted * right / cells.clamp_min(1)).sum(), "exact_accuracy": (counted * exact).sum(),
                "q_halt_accuracy": (counted * ((q_halt >= 0) == exact)).sum(), "steps": (counted * steps).sum(),
            }
            if go_on is not None:
                sums["q_continue_loss"] = go_on.sum()
            sums = {name: value.detach() for name, value in sums.items()}
        carry = Carry(state, steps, halted, carry.inputs, carry.labels, carry.ids)
        return Step(carry, total / self.batch_size, sums, (q_halt.detach(), q_continue.detach()), target)

    def gradients(self, batch: Batch) -> tuple[Step, dict[str, Tensor], Tensor | None]:
        """The step's losses and the gradients of the dense weights and of the slots' puzzle rows. Changes nothing."""
        carry = self.refill(self.carry, batch)
        rows = None if self.table is None else self.table[carry.ids].requires_grad_()
        step = self.forward(self.weights, rows, carry, batch.min_steps)
        wanted = list(self.weights.values()) + ([] if rows is None else [rows])
        # Those of weights that are laid out by columns are so too.
        gradients = [g.contiguous() for g in torch.autograd.grad(step.loss, wanted)]
        return step, dict(zip(self.weights, gradients)), None if rows is None else gradients[-1]

    def set_rates(self) -> None:
        """Puts the rates of the next step where the device reads them."""
        self.step_count += 1
        r, t = self.rates, self.step_count
        factor = min(1.0, t / r.warmup) if r.warmup else 1.0
        lr = r.lr * factor
        self.scalars.copy_(torch.tensor([lr, lr / (1 - r.beta1**t), 1 / math.sqrt(1 - r.beta2**t)]))
        self.puzzle_lr.fill_(r.puzzle_lr * factor)

    def apply(self, step: Step, gradients: dict[str, Tensor], row_gradient: Tensor | None) -> None:
        with torch.no_grad():
            if self.gradient is not None:
                torch._foreach_copy_(list(self.views(self.gradient).values()), list(gradients.values()))
                self.update(self.flat, self.m, self.v, self.gradient, self.scalars, self.rates)
            else:
                for name, g in gradients.items():
                    place = slice(self.places[name], self.places[name] + g.numel())
                    self.update(self.flat[place], self.m[place], self.v[place], g.view(-1), self.scalars, self.rates)
            if row_gradient is not None:
                decay = self.rates.puzzle_weight_decay
                self.update_rows(self.table, step.carry.ids, row_gradient, self.puzzle_lr, decay)
            if self.ema is not None:
                self.ema.lerp_(self.flat, 1 - self.rates.ema)
        self.carry = step.carry

    def copy(self) -> "Trainer.Copy":
        copied = [t if t is None else t.detach().clone() for t in self.tensors()]
        return Trainer.Copy(self.step_count, copied)

    def restore(self, copy: "Trainer.Copy") -> None:
        """In place: a graph reads where it has read."""
        self.step_count = copy.step_count
        with torch.no_grad():
            for tensor, value in zip(self.tensors(), copy.tensors):
                if tensor is not None:
                    tensor.copy_(value)

    def tensors(self) -> list[Tensor | None]:
        carry = self.carry
        slots = [*carry.state, carry.steps, carry.halted, carry.inputs, carry.labels, carry.ids]
        return [self.flat, self.m, self.v, self.ema, self.table, *slots]

    def step(self, batch: Batch) -> Step:
        self.set_rates()
        step, gradients, row_gradient = self.gradients(batch)
        self.apply(step, gradients, row_gradient)
        return step


class GraphedTrainer:
    """A trainer whose whole step is one CUDA graph. Batches are copied to where the graph reads them."""

    def __init__(self, trainer: Trainer, batch: Batch):
        self.trainer = trainer
        self.batch = Batch(batch.inputs.clone(), batch.labels.clone(), batch.ids.clone(), batch.min_steps.clone())
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                trainer.step(self.batch)
        torch.cuda.current_stream().wait_stream(stream)
        home = trainer.carry
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            step, gradients, row_gradient = trainer.gradients(self.batch)
            trainer.apply(step, gradients, row_gradient)
            # The next replay reads the slots where this one did.
            new = trainer.carry
            pairs = zip((*home.state, home.steps, home.halted, home.inputs, home.labels, home.ids),
                        (*new.state, new.steps, new.halted, new.inputs, new.labels, new.ids))
            for old, value in pairs:
                old.copy_(value)
        trainer.carry = home
        self.made = step

    def step(self, batch: Batch) -> Step:
        self.trainer.set_rates()
        for name in "inputs", "labels", "ids", "min_steps":
            getattr(self.batch, name).copy_(getattr(batch, name), non_blocking=True)
        self.graph.replay()
        return self.made
