"""A change in lines of Python, to be executed where the run was made.

The lines use what `diagnose` was given, by the names model, loss, optimizer, data and steps, and
torch. What cannot be done from outside, a function called in forward, is said in a comment that
stands in a line of its own.
"""

import math
from collections.abc import Iterator

from torchmlp.diagnosis.record.record import Design, Layer, Record
from torchmlp.diagnosis.remedies.catalogue import ADAM_LR, Change
from torchmlp.diagnosis.rules.parameters import place
from torchmlp.kernels.activations import ACTIVATIONS
from torchmlp.kernels.init import auto_init

FEW_FEATURES = 100  # more are pixels, of which some hardly move
MODULES = {"relu": "ReLU", "leaky_relu": "LeakyReLU"}
NOTHING = 1e-6


def code_of(change: Change, record: Record) -> str:
    """The change in lines of Python."""
    return "\n".join(
        [
            *_of_model(change, record),
            *_of_data(change, record),
            *_of_loss(change, record),
            *_of_optimizer(change, record),
        ]
    )


def is_executable(code: str) -> bool:
    """Whether it is all done by the lines as they stand."""
    return bool(code) and not any(line.startswith("#") for line in code.splitlines())


def _of_model(change: Change, record: Record) -> Iterator[str]:
    if change.training_mode:
        yield "model.train()"
    if change.all_trained:
        yield "model.requires_grad_(True)"
    if change.float32:
        yield "model.float()"
    if change.autograd:
        yield "# leave the autograd.Function, .detach() or hook out of forward"
    if change.guarded:
        yield "# z.clamp(max=80).exp(), x.clamp(min=1e-6).log(), y / (norm + 1e-6)"
    if change.init:
        yield from _init(change, record)
    if change.activation:
        yield from _activation(change.activation, record.layers)
    if change.stable_head or change.balanced:
        yield from _raw_outputs(record)


def _init(change: Change, record: Record) -> Iterator[str]:
    resettable = {"Embedding", "EmbeddingBag", "LSTM", "GRU", "RNN", "LayerNorm", "BatchNorm1d"}
    resettable |= {"BatchNorm2d", "GroupNorm", "RMSNorm"}
    owners = [x.name.rpartition(".")[0] for x in record.parts if x.kind in resettable]
    for owner in dict.fromkeys(owners):
        yield f"{place(owner)}.reset_parameters()"
    groups: dict[str, list[str]] = {}
    for k, layer in enumerate(record.layers):
        is_last = k == len(record.layers) - 1
        activation = layer.activation
        if change.activation and not is_last:
            activation = change.activation
        kind = (
            "xavier" if is_last else auto_init(activation if activation in ACTIVATIONS else "tanh")
        )
        mode = ', mode="fan_out"' if layer.is_turned else ""
        call = {
            "he": f'kaiming_normal_({{}}, nonlinearity="relu"{mode})',
            "lecun": f'kaiming_normal_({{}}, nonlinearity="linear"{mode})',
        }.get(kind, "xavier_normal_({})")
        groups.setdefault(call, []).append(layer.weight)
    biases = [layer.bias for layer in record.layers if layer.bias]
    if biases:
        groups["zeros_({})"] = biases
    for call, names in groups.items():
        if len(names) == 1:
            one = f'model.get_parameter("{names[0]}")'
            yield f"torch.nn.init.{call.format(one)}"
            continue
        listed = ", ".join(f'"{name}"' for name in names)
        yield f"for name in ({listed}):"
        yield f"    torch.nn.init.{call.format('model.get_parameter(name)')}"


def _activation(name: str, layers: list[Layer]) -> Iterator[str]:
    made = f"torch.nn.{MODULES[name]}()"
    replaced = dict.fromkeys(x.activation_module for x in layers[:-1] if x.activation_module)
    if replaced:
        yield f"{' = '.join(map(place, replaced))} = {made}"
    for layer in layers[:-1]:
        if layer.activation_module:
            continue
        if layer.activation == "identity" and layer.is_module:
            at = place(layer.name)
            yield f"{at} = torch.nn.Sequential({at}, {made})"
        else:
            how = (
                "after"
                if layer.activation == "identity"
                else f"in place of {layer.activation} after"
            )
            yield f"# in forward: {name} {how} layer {layer.index} ({layer.name})"


def _raw_outputs(record: Record) -> Iterator[str]:
    """The network ends with the last layer's own values."""
    ending = record.design.ending
    if not ending or not record.layers:
        return
    if all(ending):
        for name in dict.fromkeys(ending):
            yield f"{place(name)} = torch.nn.Identity()"
        return
    last = record.layers[-1]
    if not last.is_module:
        yield f"# let forward return the values of {last.name} as they are"
        return
    yield "last = []"
    yield f"{place(last.name)}.register_forward_hook(lambda _layer, _x, z: last.append(z))"
    yield "model.register_forward_hook(lambda *_: last.pop())  # or let forward return them"


class _Names:
    """How the inputs and targets of a batch are reached, and a batch is made of others."""

    def __init__(self, design: Design) -> None:
        self.is_whole = design.data_form == "tensors"
        self.form = design.data_form
        self.names = design.input_names, design.target_name
        self.is_pair = self.form in ("tensors", "pairs")

    @property
    def loop(self) -> str:
        return "for x, target in data" if self.is_pair else "for batch in data"

    def _get(self, name: str) -> str:
        return {
            "tuples": f"batch[{name}]",
            "dicts": f"batch[{name!r}]",
        }.get(self.form, f"batch.{name}")

    @property
    def x(self) -> str:
        return "x" if self.is_pair else self._get(self.names[0][0])

    @property
    def target(self) -> str:
        return "target" if self.is_pair else self._get(self.names[1])

    def read(self) -> Iterator[str]:
        """All inputs and targets."""
        if self.is_whole:
            yield "x, target = data"
        elif self.is_pair:
            yield "x, target = (torch.cat(parts) for parts in zip(*data))"
        else:
            yield f"x = torch.cat([{self.x} {self.loop}])"
            yield f"target = torch.cat([{self.target} {self.loop}])"

    def become_pairs(self) -> None:
        """From here on the batches are pairs, whatever they were."""
        if not self.is_whole:
            self.form, self.is_pair = "pairs", True

    def written(self, x: str, target: str) -> str:
        """All batches with these inputs and targets, said with this one's."""
        if self.is_whole:
            return f"data = {x}, {target}"
        first, last = self.names[0][0] if self.names[0] else "", self.names[1]
        made = {
            "pairs": f"({x}, {target})",
            "dicts": f"{{**batch, {first!r}: {x}, {last!r}: {target}}}",
            "tuples": f"({x}, {target}, *batch[2:])",
            "namedtuples": f"batch._replace({first}={x}, {last}={target})",
        }
        other = f"dataclasses.replace(batch, {first}={x}, {last}={target})"
        return f"data = [{made.get(self.form, other)} {self.loop}]"


def _of_data(change: Change, record: Record) -> Iterator[str]:
    design, names = record.design, _Names(record.design)
    is_scaled = bool(change.inputs or change.targets or (change.float32 and _is_half(record)))
    if not (is_scaled or change.only_finite or change.shuffled):
        if change.balanced:
            yield from names.read()
        return
    if len(design.input_names) > 1 or design.data_form == "whole":
        yield f"# {_in_words(change)}"
        return
    if design.is_dataset:
        yield f"data = torch.utils.data.DataLoader(data, {design.batch_size}, shuffle=True)"
    if names.form == "dataclasses":
        yield "import dataclasses"
    if change.only_finite:
        yield from _finite(record, names)
    if change.shuffled:
        yield from _shuffled(design, names)
    if is_scaled:
        yield from _scaled(change, record, names)
    if change.balanced:
        yield from names.read()


def _in_words(change: Change) -> str:
    words = {
        "only_finite": "finite samples only",
        "shuffled": "samples shuffled",
        "inputs": "each input: (x - mean) / std, over the samples",
        "targets": f"targets {change.targets}",
        "float32": "all in float32",
    }
    return ", ".join(word for name, word in words.items() if getattr(change, name))


def _shuffled(design: Design, names: "_Names") -> Iterator[str]:
    yield from names.read()
    yield "order = torch.randperm(len(x))"
    if names.is_whole:
        yield "data = x[order], target[order]"
        return
    parts = ", ".join(f"{part}[order].split({design.batch_size})" for part in ("x", "target"))
    yield f"data = list(zip({parts}))"
    names.become_pairs()


def _scaled(change: Change, record: Record, names: "_Names") -> Iterator[str]:
    yield from names.read()
    x, target = names.x, names.target
    if change.inputs:
        yield f"mean, std = x.mean(0), {_std(record.inputs.features if record.inputs else 1)}"
        x = f"({x} - mean) / std"
    if change.targets == "standardized":
        spread = _std(math.prod(record.design.target_shape[1:]), "target")
        yield f"middle, spread = target.mean(0), {spread}"
        yield "predicted = lambda output: output * spread + middle  # in the targets' own units"
        target = f"({target} - middle) / spread"
    if change.targets == "from 0":
        yield "least = target.min()"
        target = f"{target} - least"
    if change.float32 and _is_half(record):
        x = f"({x}).float()"
        target = f"({target}).float()" if record.design.target_is_float else target
    yield names.written(x, target)


def _is_half(record: Record) -> bool:
    return record.design.dtype in ("float16", "bfloat16")


def _std(features: int, x: str = "x") -> str:
    """A feature's spread, and of pixels at least a hundredth of what is common."""
    least = 0.01 if features >= FEW_FEATURES else NOTHING
    return f"{x}.std(0).clamp_min({least:g} * {x}.std())"


def _finite(record: Record, names: _Names) -> Iterator[str]:
    inputs = record.inputs
    yield from names.read()
    # A feature that is mostly lost leaves so large a share behind.
    lost = bool(inputs) and inputs.nonfinite > 0.5 / max(inputs.features, 1)  # type: ignore[union-attr]  # it is there
    if lost:
        yield "known = torch.isfinite(x).float().mean(0) > 0.5"
    yield "def finite(x, target):"
    if lost:
        yield "    x = torch.where(known, x, 0.0)"
    yield "    keep = torch.isfinite(x).reshape(len(x), -1).all(1)"
    yield "    keep &= torch.isfinite(target).reshape(len(target), -1).all(1)"
    yield "    return x[keep], target[keep]"
    if names.is_whole:
        yield "data = finite(x, target)"
    elif names.is_pair:
        yield "data = [finite(x, target) for x, target in data]"
    else:
        yield f"data = [finite({names.x}, {names.target}) {names.loop}]"
        names.become_pairs()


def _of_loss(change: Change, record: Record) -> Iterator[str]:
    design = record.design
    if change.stable_head or change.balanced:
        yield from _stable_loss(change, record)
    elif change.same_shape:
        yield "loss = lambda output, target, own=loss: own(output, target.reshape(output.shape))"
    if change.negated and design.maximizes:
        yield "for group in optimizer.param_groups:"
        yield '    group["maximize"] = False'
    elif change.negated:
        yield "loss = lambda output, target, own=loss: -own(output, target)"


def _stable_loss(change: Change, record: Record) -> Iterator[str]:
    """The loss that fits targets and raw outputs: torch's own, with the shapes it needs."""
    design, targets = record.design, record.targets
    units = record.layers[-1].fan_out if record.layers else design.output_units
    kind = targets.kind if targets else "numbers"
    functional = "torch.nn.functional"
    # The output's own shape, but for a last axis of one unit.
    same = design.target_shape == [*design.output_shape[:1], units] and design.target_is_float
    if kind == "numbers":
        yield (
            "loss = torch.nn.MSELoss()"
            if same
            else f"loss = lambda output, target: {functional}.mse_loss(\n"
            f"    output.reshape(target.shape), target.to(output.dtype)\n)"
        )
        return
    signed = kind == "classes" and targets is not None and targets.low < 0
    if kind == "labels" or units == 1:
        truth = "(target + 1) / 2" if signed else "target"
        if change.balanced:
            yield f"truth = ({truth}).reshape(-1).long()"
            yield "counts = torch.bincount(truth).clamp_min(1)"
            yield "weight = len(truth) / (len(counts) * counts)"
            weight = f", weight[({truth}).reshape(output.shape).long()]"
        else:
            weight = ""
        if same and not signed and not weight:
            yield "loss = torch.nn.BCEWithLogitsLoss()"
            return
        truth = truth if signed else "target"
        yield f"loss = lambda output, target: {functional}.binary_cross_entropy_with_logits("
        yield f"    output, ({truth}).reshape(output.shape).to(output.dtype){weight}"
        yield ")"
        return
    is_row = design.target_shape == [*design.output_shape[:1], units]
    if change.balanced:
        yield f"labels = {'target.argmax(1)' if is_row else 'target.reshape(-1).long()'}"
        yield "counts = torch.bincount(labels).clamp_min(1)"
        yield "weight = len(labels) / (len(counts) * counts)"
    given = "weight=weight" if change.balanced else ""
    if (len(design.target_shape) == 1 and not design.target_is_float) or same:
        yield f"loss = torch.nn.CrossEntropyLoss({given})"
        return
    labels = "target.argmax(-1)" if is_row else "target.reshape(-1).long()"
    output = "output" if len(design.output_shape) <= 2 else "output.flatten(0, -2)"  # noqa: PLR2004  axes
    if len(design.output_shape) > 2 and design.is_classes_second:  # noqa: PLR2004  axes
        output = "output.movedim(1, -1).flatten(0, -2)"
    yield f"loss = lambda output, target: {functional}.cross_entropy("
    yield f"    {output}, {labels}{', ' + given if given else ''}"
    yield ")"


def _of_optimizer(change: Change, record: Record) -> Iterator[str]:
    design = record.design
    if change.adam:
        yield f"optimizer = torch.optim.Adam(model.parameters(), lr={ADAM_LR * change.lr_factor:g})"
    elif change.all_trained:
        yield "held = {p for group in optimizer.param_groups for p in group['params']}"
        yield "if lost := [p for p in model.parameters() if p not in held]:"
        yield "    optimizer.add_param_group({'params': lost})"
    settings = []
    if change.lr_factor != 1 and not change.adam:
        rate = design.lr * change.lr_factor
        settings.append(f'group["lr"] *= {change.lr_factor:g}  # {rate:.3g}')
    if change.momentum is not None:
        settings.append(
            f'group["betas"] = ({change.momentum:g}, group["betas"][1])'
            if "Ada" in design.optimizer or "Adam" in design.optimizer
            else f'group["momentum"] = {change.momentum:g}'
        )
    if settings:
        yield "for group in optimizer.param_groups:"
        yield from (f"    {line}" for line in settings)
    if change.decay:
        yield (f"scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, {design.steps})")
        yield "optimizer.register_step_post_hook(lambda *_: scheduler.step())"
    if change.longer > 1:
        yield f"steps = {change.longer * design.steps}"
