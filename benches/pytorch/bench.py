"""Times the steps that `hrm bench` times and writes the same JSON (docs/results/README.md).

    python bench.py                                   # the rows of the device, a table
    python bench.py --device cuda:0 --json twin.json
    python bench.py --rows hrm-sudoku-1k/train/f32/8,hrm-sudoku-1k/segment/f32/8 --repeats 15

A row is MODEL/WHAT/COMPUTE/BATCH; WHAT is `train` (a whole optimizer step) or `segment` (one segment without gradient).
Everything is compiled and run twice before the clock starts. The JSON is written anew after each row; a row that fails is said there
with its reason, the others are timed all the same, and the exit code is 1.
"""

import argparse
import datetime
import gc
import json
import math
import os
import platform
import resource
import statistics
import sys
import time

import torch

import model
from model import LINEAR, Config, Model, choose_linear, fresh_weights, linear
from training import Batch, GraphedTrainer, Rates, Trainer

SUDOKU = dict(seq_len=81, vocab_size=11, num_puzzle_ids=1)
SMALL = dict(seq_len=36, vocab_size=8, num_puzzle_ids=1, hidden_size=96, num_heads=4, puzzle_dim=96, max_segments=6)
TRM = dict(h_layers=0, l_layers=2, last_cycle=True, continue_head=False)
SMALL_RATES = Rates(lr=1e-3, weight_decay=0.1, puzzle_lr=1e-3, puzzle_weight_decay=0.1, ema=0.99, warmup=50)
MODELS = {
    "hrm-sudoku-1k": (Config(**SUDOKU), Rates(warmup=2000)),
    "hrm-width-128": (
        Config(**SUDOKU, hidden_size=128, num_heads=4, h_layers=2, l_layers=2, puzzle_dim=128),
        Rates(warmup=2000),
    ),
    "trm-sudoku": (
        Config(**SUDOKU, **TRM, h_cycles=3, l_cycles=6, puzzle_positions=16),
        Rates(warmup=2000, ema=0.999),
    ),
    "trm-sudoku-mlp": (
        Config(**SUDOKU, **TRM, h_cycles=3, l_cycles=6, puzzle_positions=16, mlp_mixer=True, positions="none"),
        Rates(warmup=2000, ema=0.999),
    ),
    "trm-small": (Config(**SMALL, **TRM, h_cycles=1, l_cycles=3), SMALL_RATES),
    "trm-small-mlp": (Config(**SMALL, **TRM, h_cycles=1, l_cycles=3, mlp_mixer=True, positions="none"), SMALL_RATES),
    "hrm-small": (Config(**SMALL, h_layers=2, l_layers=2), SMALL_RATES),
}
COMPUTE = {"f32": torch.float32, "bf16": torch.bfloat16}
CPU_ROWS = [
    f"{model}/{what}/f32/{batch}"
    for model, batch in (("hrm-sudoku-1k", 8), ("hrm-width-128", 32), ("trm-sudoku-mlp", 8))
    for what in ("train", "segment")
]
CUDA_ROWS = [f"{model}/{what}/bf16/768" for model in ("hrm-sudoku-1k", "trm-sudoku-mlp") for what in ("train", "segment")]


class Clock:
    def __init__(self, device: torch.device, repeats: int):
        self.device, self.repeats = device, repeats

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, call, at_a_time: int = 1) -> list[float]:
        """Of each repeat, after two that compile and warm up."""
        times = []
        for repeat in range(-2, self.repeats):
            self.wait()
            start = time.perf_counter()
            for _ in range(at_a_time):
                call()
            self.wait()
            if repeat >= 0:
                times.append((time.perf_counter() - start) / at_a_time)
        return times

    def queued_seconds(self, call) -> list[float]:
        """As `seconds`, of a call that may be too short beside the wait for it: as many at a time as take 20 ms."""
        return self.seconds(call, max(1, math.ceil(0.02 / min(self.seconds(call)))))


def batch_of(config: Config, size: int, device: torch.device) -> Batch:
    """Random tokens: no time depends on them."""
    generator = torch.Generator().manual_seed(1)
    cells = lambda: torch.randint(1, config.vocab_size, (size, config.seq_len), generator=generator).to(device)
    zeros = lambda: torch.zeros(size, dtype=torch.long, device=device)
    return Batch(cells(), cells(), zeros(), zeros())


class Wrong(Exception):
    """What was timed has computed something else than it was to."""


def compare(what: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    """What two ways to call one compiled step have made: it is but rounding, of sums in another order, that they may differ by."""
    error = ((found - expected).float().norm() / expected.float().norm()).item()
    if not error <= 1e-2:
        raise Wrong(f"{what}: relative error {error:.1e} of 1.0e-02 against the same step called otherwise")


def train_call(config: Config, rates: Rates, size: int, device: torch.device, unit: str, graphs: bool, mixer: str | None):
    """A step, and a check of it: from one state, the step as it is timed and the compiled one come to the same. `check.py` tells whether
    that is right.
    """
    if model.chosen_linear == "onednn-constant":
        choose_linear("onednn")
    trainer = Trainer(config, rates, fresh_weights(config, 1, device), size, unit, mixer)
    batch = batch_of(config, size, device)
    stepper = GraphedTrainer(trainer, batch) if graphs else trainer

    def check() -> None:
        start, change = trainer.copy(), []
        for step in stepper.step, trainer.step:
            trainer.restore(start)
            loss = step(batch).loss.detach().clone()
            change.append((loss, trainer.flat.detach() - start.tensors[0], *(z.clone() for z in trainer.carry.state), trainer.carry.steps.clone()))
        if not torch.equal(change[0][-1], change[1][-1]):
            raise Wrong("the slots have made other numbers of segments than by the same step called otherwise")
        for what, found, expected in zip(("the loss", "the weights' change", "z_H", "z_L"), *change):
            compare(what, found, expected)

    return lambda: stepper.step(batch), check


class Segment(torch.nn.Module):
    """Weights as parameters, so that the compiler may lay them out anew (`freezing`)."""

    def __init__(self, config: Config, weights, device: torch.device, compile_level, mixer: str | None):
        super().__init__()
        self.model = Model(config, device, compile_level, mixer)
        weights = self.model.cast(weights)
        self.names = list(weights)
        self.values = torch.nn.ParameterList([torch.nn.Parameter(w, requires_grad=False) for w in weights.values()])

    def forward(self, z_h, z_l, x):
        return self.model.segment(dict(zip(self.names, self.values)), (z_h, z_l), x)


def segment_call(config: Config, size: int, device: torch.device, unit: str, graphs: bool, mixer: str | None):
    import torch._inductor.config as inductor

    # On a CPU the matrices are then packed once for its matrix library.
    inductor.freezing = unit == "step" and device.type == "cpu"
    if inductor.freezing and model.chosen_linear == "onednn":
        choose_linear("onednn-constant")
    weights = fresh_weights(config, 1, device)
    compiled = lambda f: torch.compile(f, dynamic=False, mode="reduce-overhead" if graphs else None)
    segment = Segment(config, weights, device, compiled if unit == "level" else lambda f: f, mixer).eval()
    run = compiled(segment) if unit == "step" else segment
    batch = batch_of(config, size, device)
    with torch.inference_mode():
        cast = segment.model.cast(weights)
        rows = weights["puzzle_emb.weights"][batch.ids] if config.puzzle_dim else None
        x = segment.model.embed(cast, batch.inputs, rows)
        state = [z.expand_as(x).clone() for z in segment.model.start(weights)]

    def call():
        with torch.inference_mode():
            torch.compiler.cudagraph_mark_step_begin()
            (z_h, z_l), output = run(*state, x)
            if graphs:
                # The graph's outputs live until its next call.
                state[0].copy_(z_h)
                state[1].copy_(z_l)
            else:
                state[:] = z_h, z_l
            return output

    def check() -> None:
        """From one state it comes to the same again, and from another to something else."""
        made = []
        with torch.inference_mode():
            start = [z.clone() for z in state]
            for again in range(3):
                if again != 1:
                    # With graphs, where they are read.
                    state[:] = [z.copy_(old) for z, old in zip(state, start)] if graphs else start
                logits = call()[0].clone()
                made.append((logits, *(z.clone() for z in state)))
        for what, first, other, last in zip(("the logits", "z_H", "z_L"), *made):
            compare(what, last, first)
            if torch.equal(first, other):
                raise Wrong(f"{what}: the next segment has changed nothing")

    return call, check


def matmul_rates(clock: Clock, computes: list[str], rows: list[tuple]) -> list[dict]:
    """Products of two square sizes and of the rows' own projections, `[m, k] x [k, n]`, by a weight `[n, k]` as the model has it."""
    sweep = []
    for compute in computes:
        shapes = {(2048, 2048, 2048), (4096, 4096, 4096)}
        for config, _, row_compute, batch in rows:
            if row_compute == compute:
                d, tokens = config.hidden_size, batch * config.total_len
                inner = config.swiglu_width(d)
                shapes |= {(tokens, d, 2 * inner), (tokens, inner, d)}
        for m, k, n in sorted(shapes):
            x, weight = (torch.randn(*shape, device=clock.device).to(COMPUTE[compute]) for shape in ((m, k), (n, k)))
            with torch.inference_mode():
                seconds = statistics.median(clock.queued_seconds(lambda: linear(x, weight)))
            sweep.append(dict(m=m, k=k, n=n, compute=compute, ms=seconds * 1e3, gflops=2e-9 * m * k * n / seconds))
    return sweep


def faster_linear(clock: Clock) -> str:
    """PyTorch's own product or oneDNN's, whichever is faster here."""
    x, weight = torch.randn(656, 512), torch.randn(3072, 512)
    with torch.inference_mode():
        seconds = {kind: min(clock.seconds(lambda: LINEAR[kind](x, weight))) for kind in ("torch", "onednn")}
    for kind, best in seconds.items():
        print(f"656 x 512 x 3072 by {kind}: {2e-9 * 656 * 512 * 3072 / best:.0f} GFLOP/s", file=sys.stderr)
    return min(seconds, key=seconds.get)


def machine(device: torch.device) -> dict:
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            cpu = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), cpu)
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "memory_gib": round(memory, 1),
        "os": f"{platform.system()} {platform.release()}",
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def write_report(path: str, report: dict) -> None:
    """Whole or not at all, so that what an earlier row wrote survives."""
    with open(f"{path}.new", "w") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
    os.replace(f"{path}.new", path)


def parse_row(name: str) -> tuple[str, Config, Rates, str, str, int]:
    try:
        model, what, compute, batch = name.split("/")
        config, rates = MODELS[model]
        config = Config(**{**config.__dict__, "compute": COMPUTE[compute]})
        if what not in ("train", "segment") or int(batch) < 1:
            raise ValueError
        return name, config, rates, what, compute, int(batch)
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(
            f"`{name}`: expected MODEL/(train|segment)/(f32|bf16)/BATCH with MODEL one of {', '.join(MODELS)}"
        ) from None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="on the CPU")
    parser.add_argument("--rows", help="comma-separated; without it those that the project's targets name")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--unit", choices=["eager", "level", "step"], default="step", help="what torch.compile gets")
    parser.add_argument("--linear", choices=["torch", "onednn"], help="what computes f32 products on a CPU; the faster one without it")
    parser.add_argument("--mixer", choices=["left", "right"], help="where the mixer's weights stand; as the device has it without it")
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs")
    parser.add_argument("--no-matmuls", action="store_true", help="leave the sweep of matrix products out")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.graphs and device.type != "cuda":
        parser.error("--graphs needs a CUDA device")
    # f32 means f32.
    torch.set_float32_matmul_precision("highest")
    names = arguments.rows.split(",") if arguments.rows else CUDA_ROWS if device.type == "cuda" else CPU_ROWS
    try:
        rows = [parse_row(name) for name in names]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    clock = Clock(device, arguments.repeats)
    of_f32 = device.type == "cpu" and all(compute == "f32" for *_, compute, _ in rows)
    choose_linear(arguments.linear or (faster_linear(clock) if of_f32 else "torch"))
    computes = sorted({compute for *_, compute, _ in rows})
    results, failed = [], []
    report = {
        "program": f"PyTorch twin, torch.compile {arguments.unit}"
        f"{', CUDA graphs' if arguments.graphs else ''}{f', products by {model.chosen_linear}' if of_f32 else ''}"
        f"{f', mixer from the {arguments.mixer}' if arguments.mixer else ''}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "machine": machine(device), "device": str(device),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "matmul_gflops": None, "matmuls": [], "rows": results, "failed": failed,
    }
    if not arguments.no_matmuls:
        report["matmuls"] = matmul_rates(clock, computes, [(c, w, k, b) for _, c, _, w, k, b in rows])
    sweep = report["matmuls"]
    for entry in sweep:
        print("matmul {m} x {k} x {n} {compute}: {ms:.2f} ms, {gflops:.0f} GFLOP/s".format(**entry), file=sys.stderr)
    best = {compute: max((e["gflops"] for e in sweep if e["compute"] == compute), default=None) for compute in computes}
    report["matmul_gflops"] = max((rate for rate in best.values() if rate), default=None)
    print(f"{'':34} {'ms':>10} {'least':>10} {'samples/s':>10} {'GFLOP/s':>10} {'share':>7}", flush=True)
    for name, config, rates, what, compute, batch in rows:
        torch.compiler.reset()
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        call = check = None
        try:
            how = device, arguments.unit, arguments.graphs, arguments.mixer
            call, check = train_call(config, rates, batch, *how) if what == "train" else segment_call(config, batch, *how)
            times = clock.seconds(call)
            if device.type == "cuda":
                # What its allocator holds, as ours is counted.
                memory = torch.cuda.max_memory_reserved(device) / 2**20
            else:
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            check()
        except Exception as error:  # The compiler's and the driver's errors have no common ancestor.
            failed.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:500]}")
            print(f"error: {failed[-1]}", file=sys.stderr, flush=True)
        else:
            seconds = statistics.median(times)
            rate = config.flops()[what == "train"] * batch / seconds * 1e-9
            share = rate / best[compute] if best[compute] else None
            results.append({
                "name": name, "model": name.split("/")[0], "what": what, "compute": compute, "batch": batch,
                "ms": seconds * 1e3, "ms_min": min(times) * 1e3, "ms_max": max(times) * 1e3, "repeats": len(times),
                "samples_per_s": batch / seconds, "gflops": rate, "share": share, "memory_mib": memory,
            })
            shown = f"{share:7.0%}" if share else f"{'':7}"
            print(f"{name:34} {seconds * 1e3:10.1f} {min(times) * 1e3:10.1f} {batch / seconds:10.1f} {rate:10.1f} {shown}", flush=True)
        del call, check
        if arguments.json:
            write_report(arguments.json, report)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
