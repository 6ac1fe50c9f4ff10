"""Holds the twin against traces of the reference programs (docs/parity.md gives their layout).

    python check.py ../../crates/hrm-train/tests/fixtures/*.safetensors
    python check.py --unit step TRACE...        # the compiled step

Prints the largest error of each quantity beside its tolerance; exit code 1 where one is over, 2 where a file is no trace.
"""

import argparse
import json
import sys

import torch
from safetensors import SafetensorError, safe_open

import model as twin
from model import Config, Model, choose_linear
from training import Batch, Rates, Trainer


class Report:
    def __init__(self):
        self.rows: dict[str, tuple[float, float]] = {}

    def put(self, quantity: str, error: float, tolerance: float) -> None:
        worst = self.rows.get(quantity, (0.0, tolerance))[0]
        # A NaN stays the worst.
        self.rows[quantity] = (worst if error <= worst or worst != worst else error, tolerance)

    def show(self) -> bool:
        for quantity, (error, tolerance) in self.rows.items():
            mark = "ok" if error <= tolerance else "OVER"
            print(f"  {quantity:42} {error:10.1e} of {tolerance:8.0e}  {mark}")
        return all(error <= tolerance for error, tolerance in self.rows.values())


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    if a.numel() != b.numel():
        raise ValueError(f"expected {b.numel()} values, found {a.numel()}")
    return (a.double().reshape(-1).cpu() - b.double().reshape(-1)).abs().max().item()


def read_config(c: dict) -> Config:
    shared = c["model"] == "trm"
    return Config(
        seq_len=c["seq_len"], vocab_size=c["vocab_size"], num_puzzle_ids=c["num_puzzle_identifiers"],
        hidden_size=c["hidden_size"], num_heads=c["num_heads"], expansion=c["expansion"],
        h_layers=0 if shared else c["H_layers"], l_layers=c["L_layers"], h_cycles=c["H_cycles"], l_cycles=c["L_cycles"],
        last_cycle=shared, mlp_mixer=c.get("mlp_t", False), positions=c["pos_encodings"],
        puzzle_dim=c.get("puzzle_emb_ndim", 0), puzzle_positions=c.get("puzzle_emb_len", 0), continue_head=not shared,
        loss=c["loss_type"].removesuffix("_cross_entropy"), max_segments=c["halt_max_steps"],
    )


def check(path: str, unit: str, device: torch.device, mixer: str | None) -> bool:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        config, optimizer = json.loads(metadata["config"]), json.loads(metadata["optimizer"])
        trace = {name: file.get_tensor(name) for name in file.keys()}
    c = read_config(config)
    prefix = "weights/inner."
    weights = {name[len(prefix) :]: t.to(device) for name, t in trace.items() if name.startswith(prefix)}
    # A GPU and oneDNN sum in another order than the program that recorded the traces; the tolerances are our GPUs'.
    other_sums = device.type != "cpu" or twin.chosen_linear != "torch"
    tolerance = max(2e-3 if c.mlp_mixer else 2e-4, 1e-3 if other_sums else 0.0)
    gradient_tolerance = 1e-3 if other_sums else 1e-5
    report = Report()

    def batch(group: str, min_steps: torch.Tensor) -> Batch:
        names = "inputs", "labels", "puzzle_identifiers"
        return Batch(*(trace[f"{group}/{name}"].long().to(device) for name in names), min_steps.long().to(device))

    first = batch("infer/batch", torch.zeros(config["batch_size"]))
    compiled = (lambda f: torch.compile(f, dynamic=False)) if unit != "eager" else (lambda f: f)
    model = Model(c, device, compiled, mixer)
    with torch.inference_mode():
        cast = model.cast(weights)
        rows = weights["puzzle_emb.weights"][first.ids] if c.puzzle_dim else None
        x = model.embed(cast, first.inputs, rows)
        state = tuple(z.expand_as(x) for z in model.start(weights))
        for segment in range(3):
            state, output = model.segment(cast, state, x)
            found = dict(z_H=state[0], z_L=state[1], logits=output[0], q_halt=output[1], q_continue=output[2])
            for name, value in found.items():
                report.put(f"inference {name}", difference(value, trace[f"infer/segment{segment}/{name}"]), tolerance)

    steps = optimizer["train_steps"]
    if steps:
        rates = Rates(
            optimizer["lr"], optimizer["weight_decay"], optimizer["beta1"], optimizer["beta2"],
            optimizer["puzzle_emb_lr"], optimizer["puzzle_emb_weight_decay"], optimizer["ema"],
        )
        trainer = Trainer(c, rates, {name: w.clone() for name, w in weights.items()}, config["batch_size"], unit, mixer)
    for t in range(1, steps + 1):
        group = f"train/step{t}"
        draws = trace.get(f"{group}/min_steps", torch.zeros(config["batch_size"]))
        incoming = batch(f"{group}/batch", draws)
        trainer.set_rates()
        step, gradients, rows = trainer.gradients(incoming)
        if t == 1:
            found = {f"inner.{name}": g for name, g in gradients.items()}
            if rows is not None:
                found["puzzle_emb_rows"] = rows
            for name, g in found.items():
                expected = trace[f"{group}/grad/{name}"].double().reshape(-1)
                size = expected.norm().item() or 1.0
                error = (g.double().cpu().reshape(-1) - expected).norm().item() / size
                report.put("step-1 gradients, relative", error, gradient_tolerance)
        q_kind, q_tolerance = ("step-1 q values", tolerance) if t == 1 else ("later q values", 5e-2)
        q_values = dict(q_halt_logits=step.q[0], q_continue_logits=step.q[1])
        if step.target is not None:
            q_values["target_q_continue"] = step.target
        for name, value in q_values.items():
            report.put(q_kind, difference(value, trace[f"{group}/{name}"]), q_tolerance)
        found = {"halted": step.carry.halted, "steps": step.carry.steps, "current/puzzle_identifiers": step.carry.ids}
        for name, value in found.items():
            report.put("halted, steps and slots, unequal", difference(value, trace[f"{group}/{name}"]), 0.0)
        for name, value in step.sums.items():
            expected = trace[f"train/{name}"][t - 1].item()
            if name.endswith("loss"):
                report.put("losses, relative", abs(value.item() - expected) / max(abs(expected), 1e-6), 1e-3)
            else:
                report.put("counts and accuracies", abs(value.item() - expected), 4e-5)
        trainer.apply(step, gradients, rows)
    if steps:
        final = trainer.weights | trainer.fixed
        groups = [("final", "final weights", final), ("ema", "averaged weights", trainer.views(trainer.ema))]
        for group, quantity, values in groups:
            for name, value in values.items():
                lr = rates.puzzle_lr if name == "puzzle_emb.weights" else rates.lr
                errors = (value.detach().double().cpu() - trace[f"{group}/inner.{name}"].double().view(value.shape)).abs()
                far = errors > 2e-5
                # Where a gradient is rounding noise its sign is: a few elements may be twice the rate off at each step.
                report.put(f"{quantity}, but for outliers", errors[~far].max().item() if (~far).any() else 0.0, 2e-5)
                report.put(f"{quantity}, share of outliers", far.double().mean().item(), 1e-2)
                report.put(f"{quantity}, farthest / (2 rate steps)", errors.max().item() / (2 * lr * steps), 1.0)
    print(path)
    return report.show()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("traces", nargs="+", metavar="TRACE")
    parser.add_argument("--unit", choices=["eager", "level", "step"], default="eager", help="what is compiled")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--linear", choices=["torch", "onednn"], default="torch", help="what computes products on a CPU")
    parser.add_argument("--mixer", choices=["left", "right"], help="where the mixer's weights stand; as the device has it without it")
    arguments = parser.parse_args()
    choose_linear(arguments.linear)
    # f32 means f32.
    torch.set_float32_matmul_precision("highest")
    good, readable = True, True
    for path in arguments.traces:
        torch.compiler.reset()
        try:
            good &= check(path, arguments.unit, torch.device(arguments.device), arguments.mixer)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            print(f"error: {path}: {type(error).__name__}: {error}", file=sys.stderr)
            readable = False
        except Exception as error:  # The compiler's and the driver's errors have no common ancestor.
            print(f"error: {path}: {type(error).__name__}: {' '.join(str(error).split())[:500]}", file=sys.stderr)
            good = False
    return 2 if not readable else 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
