"""Records of version 1, whose fields had other names."""

from typing import Any

_DATA = {"not_finite": "nonfinite"}
_RENAMED = {
    "inputs": {**_DATA, "scales": "scale_ratio"},
    "targets": {
        **_DATA,
        "centroid": "nearest_mean",
        "neighbour": "nearest_neighbour",
        "linear": "ridge",
        "commonest": "majority_share",
        "sorted": "sorted_share",
    },
    "design": {
        "rate": "lr",
        "largest_rate": "max_stable_lr",
        "by_hand": "custom_backward",
        "head": "output_ops",
        "low": "output_min",
        "high": "output_max",
    },
    "layers": {"spread": "unit_spread", "gradient_spread": "unit_gradient_spread"},
    "samples": {"between": "between_sample_variance", "blocked": "saturated"},
    "record": {"again": "same_batch_loss_ratio", "not_finite": "nonfinite"},
}


def to_version_2(values: dict[str, Any]) -> dict[str, Any]:
    """A record of version 1, as read from JSON, under the names of version 2."""
    found = {name: _renamed(value, _RENAMED.get(name, {})) for name, value in values.items()}
    for sample in found.get("samples", []):
        sample["layers"] = _renamed(sample["layers"], _RENAMED["samples"])
    return {**_renamed(found, _RENAMED["record"]), "version": 2}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    return {names.get(key, key): item for key, item in value.items()}
