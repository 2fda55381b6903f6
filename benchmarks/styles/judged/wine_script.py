# wine quality: three classes from eleven measurements
import numpy as np
import pandas as pd

df = pd.read_csv("winequality-red.csv", sep=";")
features = df.drop(columns="quality").to_numpy()
features = (features - features.mean(0)) / features.std(0)
grade = np.digitize(df["quality"], [5, 7])
target = np.eye(3)[grade]

lr = 0.05


def act(z):
    return np.tanh(z)


def act_grad(z):
    return 1 / np.cosh(z) ** 2


def probabilities(z):
    z = z - z.max(1)[:, None]
    return np.exp(z) / np.exp(z).sum(1)[:, None]


def forward(x, w1, b1, w2, b2, w3, b3):
    z1 = x @ w1 + b1
    z2 = act(z1) @ w2 + b2
    return z1, z2, probabilities(act(z2) @ w3 + b3)


def gradients(x, t, w1, b1, w2, b2, w3, b3):
    z1, z2, p = forward(x, w1, b1, w2, b2, w3, b3)
    g3 = (p - t) / len(t)
    g2 = act_grad(z2) * (g3 @ w3.T)
    g1 = act_grad(z1) * (g2 @ w2.T)
    return [x.T @ g1, g1.sum(0), act(z1).T @ g2, g2.sum(0), act(z2).T @ g3, g3.sum(0)]


np.random.seed(42)
layers = [features.shape[1], 20, 12, 3]
theta = []
for a, b in zip(layers, layers[1:]):
    theta += [np.random.randn(a, b) / np.sqrt(a), np.zeros(b)]

for epoch in range(1, 301):
    for theta_i, g in zip(theta, gradients(features, target, *theta)):
        theta_i -= lr * g
    if epoch % 25 == 0:
        p = forward(features, *theta)[-1]
        print(f"{epoch:4d}  nll {-np.log(p[np.arange(len(p)), grade]).mean():.4f}  acc {(p.argmax(1) == grade).mean():.3f}")
