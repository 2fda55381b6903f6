"""What a parameter's name says it is: the vocabulary of courses, posts and textbooks.

A role is a word of ours: x, y, output, cache, params, weights, biases, weight, bias, flat, grad,
lr, epochs, batch_size, reg, activation, pairs, sizes, inputs, hidden, outputs, samples, quiet.
"""

import re
from functools import lru_cache

_EXACT = {
    "x": (
        "x xs inp input inputs inputdata inputarray inputslist inputlist inputvector "
        "data features feature a0 xtrain xbatch xb samples sample row image images img "
        "trainx batchx traininginputs traininput xin xi inputlayer inputvalues point "
        "xdata observations datapoint"
    ),
    "y": (
        "y ys t ts target targets label labels ytrue yreal expected ytrain ybatch yb "
        "desired answer groundtruth gt truth targetslist targetlist onehot yonehot "
        "trainy batchy trainingoutputs tgt expectedoutput trueoutput targetvector ydata "
        "actual yi correct trainlabels ti wanted goal"
    ),
    "output": (
        "output o yhat yp ypred ypredicted yprediction a2 a3 a4 al aL pred preds "
        "prediction predictions predicted probs prob probabilities p out outs outputs "
        "logits scores h hyp hypothesis z2 z3 predy pi finaloutputs outputvalues "
        "estimate est yh ao"
    ),
    "cache": (
        "cache caches memory mem intermediates states acts activations zs forwardcache "
        "values store stored tape history forward fwd context ctx layeroutputs hidden "
        "a1 z1 layercache saved"
    ),
    "params": (
        "params parameters param parms paramdict weightsdict net network model nn theta "
        "variables modelparams nnparams pars wb parameter par state ps layers"
    ),
    "weights": "weights ws w thetas weightlist weightmatrices wts",
    "biases": "biases bs b bias biaslist offsets",
    "grad": (
        "grad grads dout outputgradient gradoutput outputerror error err da dl dal "
        "delta gradient upstream dvalues dz dy dx gradout outputgrad gradin g d "
        "gradoutputs outgrad lossgrad dloss dldy dlda upstreamgradient gradients "
        "deltaout dup errorgradient"
    ),
    "lr": (
        "lr learningrate eta alpha rate step stepsize lrate learnrate learningrates lrn "
        "gamma epsilon"
    ),
    "epochs": (
        "epochs nepochs nepoch epoch iterations niter niters numiterations numiter "
        "iters steps maxiter nbepoch numepochs nsteps numsteps maxepochs numiters "
        "iteration maxiters times rounds passes its it"
    ),
    "batch_size": "batchsize minibatchsize bs nbatch sizebatch batchsz",
    "reg": (
        "reg lam lambda lambd l2 lmbda regularization reglambda weightdecay decay l2reg "
        "lamb regstrength l2lambda regularisation regparam lmb wd penalty ridge reglam "
        "l2penalty regularizationstrength regularizationrate mylambda lambdaval "
        "lambdareg ld"
    ),
    "pairs": "minibatch batch trainingdata trainpairs pairs examples",
    "samples": "m n nsamples numsamples bsize",
    "quiet": ("verbose printcost debug plot show showcost printevery log printloss display"),
    "seed": "seed randomstate randomseed rng",
    "activation": (
        "activation act activationfunction activationfn hiddenactivation nonlinearity fn"
    ),
    "rows": "train dataset trainset trainingset",
    "train": "training istraining trainmode",
}
_SIZES = {
    "hiddens": "hiddendims hiddensizes hiddenlayersizes hiddenlayers hiddenwidths hiddenunitslist",
    "sizes": (
        "sizes layers layersizes layerdims layersdims dims layerdimensions architecture "
        "topology structure arch layerssizes shape units nunits networkshape widths "
        "dimensions nodes neurons layer nodesperlayer layersize layernodes ns sizelist "
        "layerlist config"
    ),
    "inputs": (
        "inputsize nin nx ninputs inputs indim inputdim d inputnodes ninput fanin "
        "infeatures inputlayersize numinputs ni nfeatures din numinput input "
        "inputneurons inputunits inputlayer insize sizein numfeatures nf numin inodes "
        "features nfeature inputcount in inn dinput idim xdim ninputnodes inputlayers p "
        "ninputneurons"
    ),
    "hidden": (
        "hiddensize nh nhidden hidden hiddendim hiddennodes hiddenlayersize numhidden "
        "hiddenunits hiddenneurons hiddenlayer nhid h hid hnodes hsize hdim dhidden "
        "hiddencount dh numhiddenunits nhiddenunits units q width nhiddennodes hidd "
        "hidnodes hiddenfeatures m1"
    ),
    "outputs": (
        "outputsize ny noutputs outputs outdim outputdim k c outputnodes noutput fanout "
        "outfeatures outputlayersize numoutputs no numclasses nclasses dout numoutput "
        "output outputneurons outputunits outputlayer outsize sizeout numlabels classes "
        "nlabels numout onodes nclass outputcount out nout ydim odim doutput "
        "noutputnodes numcategories"
    ),
}


def _table(lines: dict[str, str]) -> dict[str, str]:
    table: dict[str, str] = {}
    for role, words in lines.items():
        for word in words.split():
            table.setdefault(word, role)
    return table


_ROLES, _SIZE_ROLES = _table(_EXACT), _table(_SIZES)
_PARTS = (  # (part of a longer name, role), the first that fits
    ("learn", "lr"),
    ("epoch", "epochs"),
    ("iter", "epochs"),
    ("batchsize", "batch_size"),
    ("lambda", "reg"),
    ("regul", "reg"),
    ("decay", "reg"),
    ("verbose", "quiet"),
    ("print", "quiet"),
    ("target", "y"),
    ("label", "y"),
    ("expected", "y"),
    ("truth", "y"),
    ("pred", "output"),
    ("cache", "cache"),
    ("param", "params"),
    ("activ", "activation"),
    ("grad", "grad"),
    ("input", "x"),
    ("output", "output"),
)
_SIZE_PARTS = (
    ("sizes", "sizes"), ("layers", "sizes"), ("dims", "sizes"), ("input", "inputs"),
    ("feature", "inputs"), ("hidden", "hidden"), ("output", "outputs"), ("class", "outputs"),
)  # fmt: skip
_NUMBERED = re.compile(
    r"^(?P<kind>w|weights?|thetas?|kernel|wt|mat|syn|synapse|synaptic|b|bias|biases|offset)"
    r"(?P<place>\d+|h|o|i|in|out|hidden|output|input|ih|ho|xh|hy|hh|one|two|hid|first|second|hiddenlayer|outputlayer)$"
)


def plain(name: str) -> str:
    """A name in small letters, without underscores."""
    return name.replace("_", "").lower()


@lru_cache(maxsize=4096)
def numbered(name: str) -> tuple[str, str] | None:
    """("weight" or "bias", place) of a name such as W1, b_2, Theta1, w_hidden; None for others."""
    word = plain(name)
    found = _NUMBERED.match(word) or re.match(
        r"^(?P<place>hidden|output|input)(?P<kind>weights?|bias|biases)$", word
    )
    if found is None:
        return None
    is_bias = found["kind"][0] in "bo"
    return ("bias" if is_bias else "weight"), found["place"]


@lru_cache(maxsize=4096)
def role(name: str) -> str | None:
    """What a parameter of a function is, by its name; None where the name says nothing."""
    word = plain(name)
    if numbered(name):
        return numbered(name)[0]  # type: ignore[index]  # it is there
    if word in _ROLES:
        return _ROLES[word]
    if word in _SIZE_ROLES:
        return _SIZE_ROLES[word]
    return next((role for part, role in _PARTS if part in word), None)


@lru_cache(maxsize=4096)
def size_role(name: str) -> str | None:
    """What a parameter of a constructor or an initialiser is, where it may be a size."""
    word = plain(name)
    if word in ("lr", "eta", "alpha"):
        return "lr"
    if word in _SIZE_ROLES:
        return _SIZE_ROLES[word]
    match = re.match(r"^(?:n|num|size|dim|nodes|neurons|units|layer|h|d|l)?(\d)$", word)
    if match:
        return f"size{match[1]}"
    if word in _ROLES:
        return _ROLES[word]
    return next((role for part, role in (*_SIZE_PARTS, *_PARTS) if part in word), None)


FORWARD = re.compile(
    r"forward|feed|predict|fprop|hypothes|model|propagat|infer|output|compute|activate|run|query|score|think|__call__|call"
)
BACKWARD = re.compile(r"back|grad|bprop|nabla|deriv")
COST = re.compile(r"cost|loss|error|objective|^j$|entropy|mse|criterion|likelihood|risk|squared")
UPDATE = re.compile(r"update|step|train|fit|sgd|descent|optimi|learn|epoch|adjust|apply")
INITIAL = re.compile(r"init|create|make|build|setup|random|new|start|get.*(param|weight)|gen")


@lru_cache(maxsize=4096)
def is_forward(name: str) -> bool:
    """Whether a function's name says that it computes the network's output."""
    word = name.lower()
    return bool(FORWARD.search(word)) and not BACKWARD.search(word) and not COST.search(word)
