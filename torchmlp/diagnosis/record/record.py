"""All measurements of a run, serialisable to JSON.

Measuring fills a `Record`; the rules and the figures read it and nothing else, so that a saved run
is judged again without being trained again. Layers are counted from 1 among the layers with
weights, in the order in which they are computed.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from torchmlp.diagnosis.record.version_1 import to_version_2

VERSION = 2
# Fields that records of version 2 may be without.
ADDED = {
    *("trainability", "ascends", "seems_to_ascend", "maximizes", "evaluating", "ending"),
    *("is_classes_second", "target_is_float", "data_form", "input_names", "target_name"),
    *("is_dataset", "budget", "positions", "parts"),
    *("weight", "bias", "is_module", "is_turned", "activation_module"),
}
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass
class Inputs:
    """What reaches the first layer with weights, over the samples looked at.

    Attributes:
        samples: how many were looked at.
        features: numbers in each.
        mean, std, rms, low, high: over all numbers.
        nonfinite: share of the numbers that are nan or infinite, in the data as they were given.
        scale_ratio: largest over smallest standard deviation of a feature, constant ones left out.
        offset: rms over features of |mean| / std, constant features left out.
    """

    samples: int
    features: int
    mean: float
    std: float
    rms: float
    low: float
    high: float
    nonfinite: float
    scale_ratio: float
    offset: float


@dataclass
class Targets:
    """The targets, and what simple probes make of them.

    Attributes:
        kind: "classes" (indices, one-hot rows or 0/1), "labels" (several 0/1 in a row), "numbers".
        classes: K, of classes: of the output where that tells, else the number seen.
        low, high, mean, std: of the targets as they are.
        nonfinite: share of nan and infinite values.
        entropy: of the classes' shares, in nats.
        majority_share: share of the commonest class.
        chance: what guessing reaches: the commonest class's share; 0 (R²) for numbers.
        nearest_mean, nearest_neighbour, ridge: accuracy (R² for numbers), on samples held out, of a
            baseline: nearest class mean, nearest neighbour, ridge regression; None where not taken.
        held_out: samples the probes were scored on.
        sorted_share: share of the batches, of four samples and more, whose labels are all the same.
    """

    kind: str
    classes: int
    low: float
    high: float
    mean: float
    std: float
    nonfinite: float
    entropy: float | None = None
    majority_share: float | None = None
    chance: float = 0.0
    nearest_mean: float | None = None
    nearest_neighbour: float | None = None
    ridge: float | None = None
    held_out: int = 0
    sorted_share: float = 0.0


@dataclass
class Design:
    """How the network ends, and what its loss is.

    Attributes:
        output: the function after the last layer, in the model ("softmax", "sigmoid", "identity").
        output_units: size of the output's last axis.
        output_axis: the axis a softmax sums over, counted from the end (-1 the last); 0 if none.
        output_shape, target_shape: of a batch.
        loss: its name; "own" for one that is written out.
        output_ops: all functions from the last layer to the scalar, in order.
        loss_calls: how many of them, at the end, are the loss'.
        naive_softmax: whether exp is taken of logits without their maximum subtracted.
        exp_layer: the layer whose values a hand-written exp is taken of; None if there is none.
        log_of: what the loss takes a logarithm of: "softmax", "sigmoid", "identity", ...; None
            where it takes none.
        is_guarded: whether its argument is kept from 0, by a clamp or something added.
        broadcasts: whether the loss, written out, compares every output with every target.
        sums_one: whether the loss sums over an axis of one unit.
        output_min, output_max: of the output at the start.
        is_affine: whether the network, up to `output`, has several layers and no nonlinearity.
        loss_gradient_error: relative error of ∂loss/∂output against central differences.
        ascends: whether a loss of torch's counts with the wrong sign: following the gradient, or
            climbing it, makes it worse.
        seems_to_ascend: whether the loss pushes right answers down, as far as the output tells.
        maximizes: whether the optimizer climbs.
        evaluating: modules that are in evaluation mode, with the whole model, and compute
            otherwise in training.
        custom_backward: what gives the graph another derivative than torch's: Functions by name,
            "detach", "hook".
        error: what the model or the loss raised at the first batch, in its words; None if nothing.
        dtype: of the parameters.
        lr: the optimizer's learning rate.
        optimizer: its class.
        momentum: its momentum or first beta.
        max_stable_lr: 2 / λmax of the loss' Hessian at the start, by power iteration; None where it
            could not be measured.
        batch_size: samples in the first batch.
        steps: how long the run was to train.
        ending: what the network does to its last layer's values: the modules' names, "" for a
            function in forward.
        is_classes_second: whether the output is (B, K, *).
        target_is_float: whether the targets are floating point numbers.
        data_form: how the data were given: "tensors" (inputs, targets) as a whole; else batches as
            "pairs", "tuples", "dicts", "namedtuples" or "dataclasses".
        input_names, target_name: what inputs and targets are called in such a batch.
        is_dataset: whether the data are a Dataset, of samples.
    """

    output: str = "identity"
    output_units: int = 0
    output_axis: int = 0
    output_shape: list[int] = field(default_factory=list)
    target_shape: list[int] = field(default_factory=list)
    loss: str = "own"
    output_ops: list[str] = field(default_factory=list)
    loss_calls: int = 0
    naive_softmax: bool = False
    exp_layer: int | None = None
    log_of: str | None = None
    is_guarded: bool = False
    broadcasts: bool = False
    sums_one: bool = False
    output_min: float = 0.0
    output_max: float = 0.0
    is_affine: bool = False
    loss_gradient_error: float | None = None
    ascends: bool = False
    seems_to_ascend: bool = False
    maximizes: bool = False
    evaluating: list[str] = field(default_factory=list)
    custom_backward: list[str] = field(default_factory=list)
    error: str | None = None
    dtype: str = "float32"
    lr: float = 0.0
    optimizer: str = ""
    momentum: float = 0.0
    max_stable_lr: float | None = None
    batch_size: int = 0
    steps: int = 0
    ending: list[str] = field(default_factory=list)
    is_classes_second: bool = False
    target_is_float: bool = False
    data_form: str = "pairs"
    input_names: list[str] = field(default_factory=list)
    target_name: str = ""
    is_dataset: bool = False


@dataclass
class Trainability:
    """Which of the numbers that a network is made of are trained, before the first step.

    Attributes:
        layers: weights of layers that could be trained.
        frozen: parameters that require no gradient, by name.
        not_held: those that get a gradient and are not the optimizer's.
        replaced: whether the optimizer holds, in their place, parameters of the same shapes that
            are not the model's.
        unregistered: parameters that the network computes with, that get a gradient, and that are
            neither the model's nor the optimizer's: where they are kept ("layers[0].weight"), or
            their shape.
        container: the attribute of the model that keeps all of these; "" if there is none.
        container_kind: "list" or "dict".
        unreached: layers, by number, that no gradient reaches.
        trained: how many parameters are trained.
        matrices_trained: how many of them have two axes or more.
        has_graph: whether the loss depends on any parameter that requires a gradient.
    """

    layers: int = 0
    frozen: list[str] = field(default_factory=list)
    not_held: list[str] = field(default_factory=list)
    replaced: bool = False
    unregistered: list[str] = field(default_factory=list)
    container: str = ""
    container_kind: str = ""
    unreached: list[int] = field(default_factory=list)
    trained: int = 0
    matrices_trained: int = 0
    has_graph: bool = True


@dataclass
class Layer:
    """A layer with weights at the start.

    Attributes:
        index: from 1.
        name: the module's, or the parameter's.
        kind: the function: "linear", "conv2d", ...
        fan_in, fan_out: of the weight.
        activation: the function after it: "relu", "sigmoid", "identity", "own".
        has_norm: whether a normalisation stands between it and the next layer.
        weight_mean, weight_std: over the weight's elements.
        gain: rms of the weight times √fan_in: 1.41 for He, 1 for LeCun, about .58 for torch's own.
        unit_spread: rms over inputs of the std over units, over the weight's rms; 0 where all units
            are equal.
        unit_gradient_spread: the same of the weight's gradient.
        bias_mean, bias_std: None without a bias.
        gradient_error: relative error of its parameters' gradients against central differences.
        is_trained: whether its weight requires a gradient.
        z_counts, z_edges: histogram of the pre-activation.
        linear_range: where |φ'| is at least a tenth of its maximum, of the z seen; None if nowhere.
        positions: places of a sample at which it is computed: pixels, steps of a sequence.
        weight, bias: the parameters' names; "" without a bias of that name.
        is_module: whether `name` is a module's, which computes this layer and nothing else.
        is_turned: whether the weight's units are its columns.
        activation_module: the module that bends its values, by name; "" for a function in forward.
    """

    index: int
    name: str
    kind: str
    fan_in: int
    fan_out: int
    activation: str
    has_norm: bool
    weight_mean: float
    weight_std: float
    gain: float
    unit_spread: float
    unit_gradient_spread: float | None = None
    bias_mean: float | None = None
    bias_std: float | None = None
    gradient_error: float | None = None
    is_trained: bool = True
    z_counts: list[int] = field(default_factory=list)
    z_edges: list[float] = field(default_factory=list)
    linear_range: list[float] | None = None
    positions: int = 1
    weight: str = ""
    bias: str = ""
    is_module: bool = False
    is_turned: bool = False
    activation_module: str = ""


@dataclass
class Part:
    """A parameter of no layer above: an embedding's, a normalisation's, an attention's.

    Attributes:
        name: the parameter's.
        kind: the class of its module.
        shape: of the parameter.
        rms: of its elements.
        gain: rms times √fan-in for a matrix that is multiplied by; rms for an embedding, whose rows
            are picked; 1 for the rest.
        gradient_rms: at the start; None where no gradient reaches it.
    """

    name: str
    kind: str
    shape: list[int]
    rms: float
    gain: float = 1.0
    gradient_rms: float | None = None


@dataclass
class LayerSample:
    """A layer at a step.

    Attributes:
        z_mean, z_std, z_max: of the pre-activation; z_max of its absolute value. None where only
            the activation is kept.
        a_rms: of the activation.
        between_sample_variance: variance of the activation between samples over its mean square.
        saturated: share of the elements with |φ'| below a hundredth of φ's largest slope.
        dead: share of the units that are so for every sample of the batch.
        delta_rms: of ∂E/∂z per sample; None where no gradient reaches it.
        underflow: share of the deltas that are 0 or subnormal although the unit passes a gradient.
        weight_rms, gradient_rms: of the weight and its gradient.
    """

    z_mean: float | None = None
    z_std: float | None = None
    z_max: float | None = None
    a_rms: float | None = None
    between_sample_variance: float | None = None
    saturated: float | None = None
    dead: float | None = None
    delta_rms: float | None = None
    underflow: float | None = None
    weight_rms: float | None = None
    gradient_rms: float | None = None


@dataclass
class Sample:
    """All layers at one step, before its update.

    Attributes:
        step: from 0.
        layers: first to last.
    """

    step: int
    layers: list[LayerSample]


@dataclass
class NonFinite:
    """The first value that was nan or infinite.

    Attributes:
        step: from 0.
        layer: None for the loss.
        quantity: "x", "z", "a", "loss", "delta", "gradient" or "weight".
        function: what computed it: "exp", "log", "linear", ...
        value: "nan" or "inf" or "-inf".
        at: the number it was computed from, where it is one number: the largest exponent, the
            smallest argument of a logarithm.
        limit: what `at` had to stay on the right side of.
    """

    step: int
    layer: int | None
    quantity: str
    function: str
    value: str
    at: float | None = None
    limit: float | None = None

    def __str__(self) -> str:
        where = "" if self.layer is None else f" of layer {self.layer}"
        by = f", made by {self.function}" if self.function else ""
        return f"the first {self.value} is in {self.quantity}{where} at step {self.step}{by}"


@dataclass
class Trial:
    """A short training from the run's own start, with something changed.

    Attributes:
        name: what was changed, in words; "untouched" for the run itself.
        causes: the identifiers it is the remedy of.
        steps: descent steps.
        losses: of each step's batch, in the trial's own loss.
        score: accuracy, or R² for numbers, after the last step; nan if the run broke.
        patch: the configuration that does the same, or None.
        code: the change in a line or two of Python.
    """

    name: str
    causes: list[str]
    steps: int
    losses: list[float]
    score: float
    patch: dict[str, Any] | None = None
    code: str = ""


@dataclass
class Record:
    """All that is known of a run.

    Attributes:
        inputs, targets, design, layers: at the start.
        samples: the layers at some steps.
        losses: of every step's batch, before its update.
        same_batch_loss_ratio: loss of the same batch after the update over that before it, for the
            first steps.
        score_start, score: accuracy (R² for numbers) before and after; balanced over the classes.
        nonfinite: where the run broke, or None.
        trials: the untouched run and the changed ones beside it.
        network: the sizes in words.
        trainability: which parameters are trained, at the start.
        parts: what else the network is made of, looked at by weight and gradient alone.
        budget: seconds that the diagnosis was given, where they did not suffice; else None.
        version: of this form.
    """

    design: Design
    layers: list[Layer] = field(default_factory=list)
    inputs: Inputs | None = None
    targets: Targets | None = None
    samples: list[Sample] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    same_batch_loss_ratio: list[float] = field(default_factory=list)
    score_start: float | None = None
    score: float | None = None
    nonfinite: NonFinite | None = None
    trials: list[Trial] = field(default_factory=list)
    network: str = ""
    trainability: Trainability | None = None
    parts: list[Part] = field(default_factory=list)
    budget: float | None = None
    version: int = VERSION

    def to_json(self) -> str:
        """The record as JSON; nan and the infinities as "nan", "inf", "-inf"."""
        return json.dumps(plain(asdict(self)), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """The record that `to_json` wrote, now or in version 1.

        Raises:
            ValueError: the text is none, or of another version.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"expected a record in JSON, got {error}") from error
        version = values.get("version") if isinstance(values, dict) else None
        if version not in (1, VERSION):
            raise ValueError(f"expected a record of version 1 or {VERSION}, got {version}")
        try:
            values = to_version_2(values) if version == 1 else values
            return _read(cls, values)  # type: ignore[no-any-return]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"expected a whole record, got a damaged one: {error!r}") from error


def plain(value: Any) -> Any:
    """The value with nan and infinities spelt as text, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _read(kind: Any, value: Any) -> Any:
    """`value`, of JSON, as the annotated type `kind`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        known = [f for f in fields(kind) if f.name in value or f.name not in ADDED]
        return kind(**{f.name: _read(hints[f.name], value[f.name]) for f in known})  # type: ignore[operator]  # a dataclass
    if origin is list:
        return [_read(arguments[0], item) for item in value]
    if type(None) in arguments:
        if value is None:
            return None
        return _read(next(a for a in arguments if a is not type(None)), value)
    if kind is float:
        return _NON_FINITE[value] if isinstance(value, str) else float(value)
    return value
