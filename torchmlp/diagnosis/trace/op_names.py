"""Torch's functions by name, and what each is to a network."""

WITH_WEIGHTS = {
    *("linear", "bilinear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "addmv"),
    *("baddbmm", "einsum", "mv", "dot", "tensordot"),
    *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)),
    *("lstm", "gru", "rnn_tanh", "rnn_relu"),
}
RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
# Elementwise and with a bend; spelt as torch's functions, methods and in-place forms are.
ACTIVATIONS = {
    *("relu", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus", "silu", "gelu", "mish"),
    *("hardtanh", "relu6", "hardswish", "hardsigmoid", "softsign", "logsigmoid", "celu", "prelu"),
    *("rrelu", "threshold", "tanhshrink", "softshrink", "hardshrink"),
}
ALIASES = {"log_sigmoid": "logsigmoid", "special_expit": "sigmoid", "gelu_tanh": "gelu"}
NORMS = {
    "batch_norm",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "rms_norm",
    "local_response_norm",
}
# What an activation may be written out with.
NONLINEAR_OPS = {
    *(
        "exp",
        "clamp",
        "clamp_min",
        "clamp_max",
        "clip",
        "where",
        "maximum",
        "minimum",
        "max",
        "abs",
    ),
    *("min", "pow", "square", "sqrt", "rsqrt", "log", "log1p", "expm1", "reciprocal", "sin", "cos"),
    *("logaddexp", "sign", "heaviside", "erf", "sinh", "cosh", "atan", "arctan", "masked_fill"),
    *("scaled_dot_product_attention", "multi_head_attention_forward", "softmax", "glu"),
    *(f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)),
    *("__pow__", "__rpow__", "__rtruediv__", "__rdiv__", "floor", "round", "exp2", "amax"),
}
LOSSES = {
    *("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss"),
    *("gaussian_nll_loss", "hinge_embedding_loss", "margin_ranking_loss", "soft_margin_loss"),
    *("multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss"),
    *("cosine_embedding_loss", "triplet_margin_loss", "ctc_loss"),
}
# This package's names for losses, and torch's.
TORCHS_NAMES = {
    "cross_entropy": "cross_entropy",
    "mse": "mse_loss",
    "bce": "binary_cross_entropy_with_logits",
}
# What leaves the numbers as they are.
RESHAPING = {"flatten", "reshape", "view", "unflatten", "squeeze", "unsqueeze", "to", "float"}
RESHAPING |= {"double", "permute", "transpose", "contiguous", "__getitem__", "movedim"}
PRODUCTS = {"mul", "__mul__", "__rmul__", "matmul", "__matmul__", "bmm", "einsum", "baddbmm"}
ADDITIONS = {"add", "__add__", "__radd__", "sub", "__sub__"}
