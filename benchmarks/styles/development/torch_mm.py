import torch

# two layer net with plain tensor operations, no autograd

def init(D_in, H, D_out, dtype=torch.float):
    w1 = torch.randn(D_in, H, dtype=dtype) / D_in ** 0.5
    b1 = torch.zeros(H, dtype=dtype)
    w2 = torch.randn(H, D_out, dtype=dtype) / H ** 0.5
    b2 = torch.zeros(D_out, dtype=dtype)
    return w1, b1, w2, b2

def forward_backward(x, y, w1, b1, w2, b2):
    h = x.mm(w1) + b1
    h_relu = h.clamp(min=0)
    y_pred = h_relu.mm(w2) + b2

    loss = (y_pred - y).pow(2).sum().item()

    # and back again
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.t().mm(grad_y_pred)
    grad_b2 = grad_y_pred.sum(0)
    grad_h_relu = grad_y_pred.mm(w2.t())
    grad_h = grad_h_relu.clone()
    grad_h[h < 0] = 0
    grad_w1 = x.t().mm(grad_h)
    grad_b1 = grad_h.sum(0)
    return loss, grad_w1, grad_b1, grad_w2, grad_b2

if __name__ == '__main__':
    N, D_in, H, D_out = 50, 200, 40, 5
    x = torch.randn(N, D_in)
    y = torch.randn(N, D_out)
    w1, b1, w2, b2 = init(D_in, H, D_out)
    learning_rate = 1e-5
    for t in range(500):
        loss, g1, gb1, g2, gb2 = forward_backward(x, y, w1, b1, w2, b2)
        if t % 100 == 99:
            print(t, loss)
        w1 -= learning_rate * g1
        b1 -= learning_rate * gb1
        w2 -= learning_rate * g2
        b2 -= learning_rate * gb2
