import torch
import torch.nn.functional as F

# The same thing as loss.backward(), written out with plain tensor operations.


def make_params(n_in, n_hid1, n_hid2, n_cls):
    def layer(i, o):
        return [torch.randn(i, o, dtype=torch.float64) * i ** -0.5, torch.zeros(o, dtype=torch.float64)]
    return layer(n_in, n_hid1) + layer(n_hid1, n_hid2) + layer(n_hid2, n_cls)


@torch.no_grad()
def manual_backward(params, xb, yb):
    """xb: (batch, n_in) float64; yb: (batch,) long. Returns loss and the list of gradients."""
    w1, b1, w2, b2, w3, b3 = params
    bs = xb.shape[0]

    # forward
    a1 = xb @ w1 + b1
    h1 = torch.tanh(a1)
    a2 = h1 @ w2 + b2
    h2 = a2.clamp(min=0)
    logits = h2 @ w3 + b3
    logp = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    loss = -logp[torch.arange(bs), yb].mean()

    # backward
    dlogits = (logp.exp() - F.one_hot(yb, logits.shape[1])) / bs
    dw3 = h2.t() @ dlogits
    db3 = dlogits.sum(0)
    dh2 = dlogits @ w3.t()
    da2 = dh2 * (a2 > 0).to(dh2.dtype)
    dw2 = h1.t() @ da2
    db2 = da2.sum(0)
    dh1 = da2 @ w2.t()
    da1 = dh1 * (1 - h1.pow(2))
    dw1 = xb.t() @ da1
    db1 = da1.sum(0)
    return loss, [dw1, db1, dw2, db2, dw3, db3]


def train(params, loader, lr=0.1, epochs=5):
    for ep in range(epochs):
        for xb, yb in loader:
            loss, grads = manual_backward(params, xb, yb)
            for p, g in zip(params, grads):
                p.sub_(g, alpha=lr)
        print(ep, float(loss))
