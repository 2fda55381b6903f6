"""Reports made by hand: sick with several findings, broken, healthy, deep, bare, and hostile."""

import math
import random
from dataclasses import fields, replace

from torchmlp.diagnosis.record.record import (
    Design,
    Inputs,
    Layer,
    LayerSample,
    NonFinite,
    Record,
    Sample,
    Targets,
    Trial,
)
from torchmlp.diagnosis.report.report import Report
from torchmlp.diagnosis.rules.attribution import rank_trials
from torchmlp.diagnosis.rules.causes import Finding

STEPS = (0, 1, 2, 4, 8, 16, 20, 32, 40, 60, 80, 100, 120, 140, 160, 180, 199)
BINS = 40


def falling(start: float, end: float, steps: int = 200) -> list[float]:
    """Losses that fall from `start` to `end`, the later the slower, with a ripple."""
    return [
        end + (start - end) * math.exp(-6 * k / steps) * (1 + 0.05 * math.sin(2.4 * k))
        for k in range(steps)
    ]


def bell(low: float, high: float) -> tuple[list[int], list[float]]:
    """Counts and edges of a normal distribution between 3 standard deviations."""
    edges = [low + (high - low) * k / BINS for k in range(BINS + 1)]
    counts = [round(1000 * math.exp(-4.5 * ((2 * k + 1) / BINS - 1) ** 2)) for k in range(BINS)]
    return counts, edges


def layer(
    index: int,
    activation: str,
    width: float,
    *,
    name: str = "",
    steep: float | None = None,
    fan_out: int = 32,
) -> Layer:
    """A layer whose z lies within ± `width`, and whose φ is steep within ± `steep`."""
    counts, edges = bell(-width, width)
    found = Layer(
        index=index,
        name=name or f"layers.{index - 1}",
        kind="linear",
        fan_in=32,
        fan_out=fan_out,
        activation=activation,
        has_norm=False,
        weight_mean=0.0,
        weight_std=0.18,
        gain=1.0,
        unit_spread=0.98,
        z_counts=counts,
        z_edges=edges,
    )
    if steep is not None:
        found.linear_range = [max(-steep, -width), min(steep, width)]
    return found


def sigmoid_run() -> Report:
    """Five layers of sigmoid, all with much too large weights, on inputs that are too large."""
    widths = (90.0, 40.0, 38.0, 36.0, 0.8)
    layers = [
        layer(k, "sigmoid" if k < 5 else "identity", width, steep=3.6 if k < 5 else None)
        for k, width in enumerate(widths, 1)
    ]
    samples = [
        Sample(
            step,
            [
                LayerSample(
                    z_mean=0.1,
                    z_std=width / 3 * (1 + step / 900),
                    z_max=width,
                    a_rms=0.7,
                    between_sample_variance=0.45 / k + step / 2000,
                    saturated=None if k == 5 else max(0.0, 0.9 - 0.15 * k + step / 3000),
                    dead=None if k == 5 else 0.1,
                    delta_rms=10 ** (-0.8 * (5 - k) + step / 400),
                    weight_rms=1.0,
                    gradient_rms=0.01,
                )
                for k, width in enumerate(widths, 1)
            ],
        )
        for step in STEPS
    ]
    base = falling(2.48, 1.3)
    changes = (
        ("weights scaled by fan-in, inputs normalised", ["init-too-large"], 0.97, 0.02),
        ("inputs normalised", ["input-not-normalized"], 0.93, 0.11),
        ("ReLU and He weights", ["saturation"], 0.91, 0.14),
        ("rate 1", ["learning-rate-too-low"], 0.88, 0.2),
        ("rate 0.01", ["learning-rate-too-low"], 0.31, 2.2),
        (
            "cross-entropy on the raw outputs, and a name far longer than a line has room for",
            ["output-loss-mismatch"],
            0.9,
            0.15,
        ),
        ("rate 10", ["learning-rate-too-high"], 0.5, 1.9),
        ("momentum 0.9", ["oscillation"], 0.49, 1.4),
        ("weights drawn anew, biases 0", ["init-not-centred"], 0.4, 1.5),
        ("Adam", ["learning-rate-too-low"], 0.38, 1.6),
    )
    trials = [Trial("untouched", [], 200, base, 0.55)] + [
        Trial(
            name,
            causes,
            200,
            falling(2.4, end),
            score,
            {"model": {"init_args": {"init": "auto"}}},
            "for layer in layers: nn.init.xavier_normal_(layer.weight)  # a long line of code, so\n"
            "x = (x - x.mean(0)) / x.std(0)",
        )
        for name, causes, score, end in changes
    ]
    record = Record(
        Design(
            output="identity",
            output_units=10,
            loss="cross_entropy",
            lr=0.1,
            optimizer="SGD",
            batch_size=32,
            steps=200,
        ),
        layers=layers,
        inputs=Inputs(1000, 20, 12.0, 70.3, 71.3, 0.0, 255.0, 0.0, 3.1, 1.2),
        targets=Targets("classes", 10, 0.0, 9.0, 4.5, 2.9, 0.0),
        samples=samples,
        losses=base,
        score_start=0.09,
        score=0.55,
        trials=trials,
        network="20-32-32-32-32-10",
    )
    findings = [
        Finding(
            "input-not-normalized",
            1,
            "x",
            0,
            {"rms": 71.3, "mean": 12.0, "std": 70.3, "scales": 3.1},
            "The inputs run from 0 to 255, with mean 12 and std 70.3; initial weights and rates "
            "are made for about 1. The first layer's gradients are as many times too large.",
            "Subtract each feature's mean and divide by its std (pixels: divide by 255).",
            certain=True,
        ),
        Finding(
            "init-too-large",
            2,
            "weight",
            0,
            {"gain": 13.2, "weight std": 0.1234567, "layers": 4.0},
            "Layer 2's weights have 13.2 times the size that keeps the variance of z.",
            "Draw them anew with nn.init.xavier_normal_, biases 0.",
            ("saturation", "vanishing-gradient", "learning-rate-too-low"),
        ),
        Finding(
            "saturation",
            3,
            "z",
            20,
            {"saturated": 0.824, "delta rms": 1.55e-12, "z std": 123456.7},
            "82 % of the sigmoid units of layer 3 are saturated at step 20. Their slope is below "
            "a hundredth of its largest.",
            "Bring z back around 0, or use ReLU.",
        ),
    ]
    return Report(findings, rank_trials(record), record)


def broken_run() -> Report:
    """Four layers of ReLU whose loss is nan at the fourth step."""
    layers = [
        layer(k, "relu" if k < 4 else "identity", 20.0 * 3.0**k, name=f"net.{k}")
        for k in range(1, 5)
    ]
    for found in layers[:3]:
        found.linear_range = [0.0, found.z_edges[-1]]
    samples = [
        Sample(
            step,
            [
                LayerSample(
                    z_std=10.0 ** (k * (1 + 3 * step)) if step < 3 or k < 3 else math.inf,
                    between_sample_variance=0.5 if step < 3 else math.nan,
                    saturated=0.5 + 0.1 * step if k < 4 else None,
                    delta_rms=10.0 ** ((5 - k) * (step + 1)) if step < 3 else math.nan,
                )
                for k in range(1, 5)
            ],
        )
        for step in range(4)
    ]
    base = [200.0, 3.1e6, 4.4e14, math.inf]
    trials = [
        Trial("untouched", [], 4, base, math.nan),
        Trial(
            "rate 0.001",
            ["learning-rate-too-high"],
            200,
            falling(200.0, 1.1),
            0.94,
            None,
            "lr = 0.001",
        ),
        Trial("rate 0.1", ["learning-rate-too-high"], 200, [200.0, 310.0, 9e3, math.nan], math.nan),
    ]
    record = Record(
        Design(loss="cross_entropy", lr=1.0, optimizer="SGD", batch_size=32, steps=200),
        layers=layers,
        samples=samples,
        losses=base,
        score_start=0.1,
        nonfinite=NonFinite(3, 4, "z", "linear", "inf", 3.2e38, 3.4e38),
        trials=trials,
        network="20-32-32-32-10",
    )
    finding = Finding(
        "learning-rate-too-high",
        None,
        "lr",
        3,
        {"lr": 1.0, "largest / first loss": math.inf, "largest stable lr": 0.000416},
        "With a rate of 1 (SGD) the loss of a batch is higher after its own step in 100 % of the "
        "first 3 steps. The largest stable rate, 2 / λmax, is 0.00042.",
        "Lower the rate: 0.1, or less.",
        ("init-too-large", "exploding-gradient"),
    )
    return Report([finding], rank_trials(record), record)


def healthy_run() -> Report:
    """Two layers of ReLU that learn."""
    layers = [layer(1, "relu", 3.0, name="0"), layer(2, "identity", 2.0, name="2", fan_out=10)]
    layers[0].linear_range = [0.0, 3.0]
    samples = [
        Sample(
            step,
            [
                LayerSample(z_std=1.0, between_sample_variance=0.6, saturated=0.5, delta_rms=0.3),
                LayerSample(z_std=0.6 + step / 100, between_sample_variance=0.4, delta_rms=0.3),
            ],
        )
        for step in STEPS
    ]
    base = falling(2.31, 0.04, 500)
    record = Record(
        Design(loss="cross_entropy", lr=0.1, optimizer="SGD", batch_size=64, steps=500),
        layers=layers,
        targets=Targets("classes", 10, 0.0, 9.0, 4.5, 2.9, 0.0),
        samples=samples,
        losses=base,
        score_start=0.1,
        score=0.98,
        trials=[Trial("untouched", [], 500, base, 0.98)],
        network="784-32-10",
    )
    return Report([], rank_trials(record), record)


def deep_run(depth: int = 20) -> Report:
    """So many layers of sigmoid, through which the gradient fades."""
    layers = [
        layer(
            k,
            "sigmoid" if k < depth else "identity",
            1 + 3 / k,
            name=f"encoder.blocks.{k - 1}.fc",
            steep=3.6 if k < depth else None,
        )
        for k in range(1, depth + 1)
    ]
    samples = [
        Sample(
            step,
            [
                LayerSample(
                    z_std=(1 + 3 / k) / 3,
                    between_sample_variance=0.0 if k > 15 else 10.0**-k,
                    saturated=0.0 if k < depth else None,
                    delta_rms=10.0 ** (0.6 * (k - depth)),
                )
                for k in range(1, depth + 1)
            ],
        )
        for step in STEPS
    ]
    base = [2.31 + 0.01 * math.sin(k) for k in range(200)]
    record = Record(
        Design(loss="cross_entropy", lr=0.1, optimizer="Adam", batch_size=32, steps=200),
        layers=layers,
        samples=samples,
        losses=base,
        score_start=0.1,
        score=0.1,
        trials=[
            Trial("untouched", [], 200, base, 0.1),
            Trial("rate 10", ["learning-rate-too-low"], 200, falling(2.31, 2.29), 0.11),
        ],
        network="-".join(["32"] * depth + ["10"]),
    )
    finding = Finding(
        "vanishing-gradient",
        1,
        "delta",
        0,
        {"first / last": 1.55e-12, "between samples": 3.67e-16},
        "The gradient fades on its way to layer 1: its deltas are 1.6e-12 of the last layer's.",
        "ReLU with He weights, a normalisation between the layers, or residual connections.",
    )
    return Report([finding], rank_trials(record), record)


def bare_run() -> Report:
    """A record in which nothing was measured."""
    return Report([], [], Record(Design()))


RUNS = {
    "sigmoid": sigmoid_run,
    "broken": broken_run,
    "healthy": healthy_run,
    "deep": deep_run,
    "bare": bare_run,
}
HOSTILE = """<b>&"'</script><!--<script>$x^2$ \\frac{ 层 \x00\ud800\x1b]0;\u202e"""


def hostile_run() -> Report:
    """A run whose every name and sentence means something in HTML, XML, JSON or TeX."""
    report = sigmoid_run()
    record = report.record
    for found in record.layers:
        found.name = found.kind = found.activation = HOSTILE
    record.network = record.design.loss = record.design.optimizer = HOSTILE
    record.design.error = HOSTILE
    record.nonfinite = NonFinite(1, 2, HOSTILE, HOSTILE, HOSTILE, 1.0, 2.0)
    for trial in record.trials[1:]:
        trial.name, trial.code, trial.patch = HOSTILE, HOSTILE, {HOSTILE: [HOSTILE]}
    findings = [
        replace(
            finding,
            quantity=HOSTILE,
            evidence={HOSTILE: 1.0},
            explanation=HOSTILE,
            remedy=HOSTILE,
            symptoms=(HOSTILE,),
        )
        for finding in report.findings
    ]
    return Report(findings, report.remedies, record)


def filled(value: float | None, *, layers: int = 3, samples: int = 3, trials: int = 2) -> Report:
    """A report in which every number that may be anything is the same."""
    statistics = {f.name: value for f in fields(LayerSample)}
    number = math.nan if value is None else value
    found = [layer(k, "tanh", 1.0) for k in range(1, layers + 1)]
    for one in found:
        one.z_edges = [number] * (BINS + 1)
        one.linear_range = None if value is None else [number, number]
        one.bias_mean = one.gradient_error = value
    record = Record(
        Design(lr=number, output_min=number, output_max=number),
        layers=found,
        samples=[
            Sample(step, [LayerSample(**statistics) for _ in found]) for step in range(samples)
        ],
        losses=[number] * 5,
        score_start=value,
        score=value,
        trials=[
            Trial("untouched" if k == 0 else f"change {k}", ["saturation"], 5, [number] * 5, number)
            for k in range(trials)
        ],
    )
    finding = Finding("saturation", None, "z", 0, {"value": number}, "It is.", "Mend it.")
    return Report([finding], rank_trials(record), record)


ODD = (0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 5e-324, 1e-30, 1e30, 1.7e308, 0.3, 999999.0)


def random_run(seed: int) -> Report:
    """A run of numbers drawn from everything that a float can be, some of them missing."""
    draw = random.Random(seed)

    def number() -> float:
        is_odd = draw.random() < 0.5
        return draw.choice(ODD) if is_odd else draw.gauss(0, 10 ** draw.uniform(-20, 20))

    def numbers(most: int) -> list[float]:
        return [number() for _ in range(draw.randrange(most))]

    def maybe() -> float | None:
        return None if draw.random() < 0.2 else number()

    layers = [layer(k, "tanh", 1.0) for k in range(1, draw.choice((0, 1, 3, 6)) + 1)]
    for found in layers:
        found.activation = draw.choice(("relu", "identity", "own", ""))
        found.z_counts = [draw.randrange(5) for _ in range(draw.randrange(6))]
        found.z_edges = sorted(number() for _ in range(len(found.z_counts) + 1))
        found.linear_range = draw.choice((None, [number(), number()], [], [-1.0, 1.0]))
    names = [f.name for f in fields(LayerSample)]
    samples = [
        Sample(
            draw.choice((k, 10 * k, 10**15)),
            [LayerSample(**{name: maybe() for name in names}) for _ in range(draw.randrange(7))],
        )
        for k in range(draw.randrange(5))
    ]
    trials = [
        Trial(
            draw.choice(("untouched", "", "x y " * 40)), ["saturation"], 3, numbers(150), number()
        )
        for _ in range(draw.randrange(6))
    ]
    record = Record(
        Design(lr=number()),
        layers=layers,
        samples=samples,
        losses=numbers(draw.choice((2, 300))),
        score_start=maybe(),
        score=maybe(),
        nonfinite=draw.choice((None, NonFinite(3, None, "loss", "", "nan", maybe(), maybe()))),
        trials=trials,
    )
    finding = Finding("saturation", None, "z", 0, {"a": number()}, "It is. So.", "Mend it.")
    return Report([finding] * draw.randrange(3), rank_trials(record), record)
