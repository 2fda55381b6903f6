import numpy as np
import scipy.io as sio
from scipy.optimize import fmin_cg

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def unroll(nn_params, n_in, n_hid, K):
    T1 = nn_params[:n_hid * (n_in + 1)].reshape((n_hid, n_in + 1), order='F')
    T2 = nn_params[n_hid * (n_in + 1):].reshape((K, n_hid + 1), order='F')
    return T1, T2

def feedforward(X, T1, T2):
    a1 = np.c_[np.ones(len(X)), X]
    z2 = a1 @ T1.T
    a2 = np.c_[np.ones(len(X)), sigmoid(z2)]
    return a1, z2, a2, sigmoid(a2 @ T2.T)

def nn_cost(nn_params, n_in, n_hid, K, X, y, lmbda):
    """y: labels 0..K-1"""
    m = len(X)
    T1, T2 = unroll(nn_params, n_in, n_hid, K)
    h = feedforward(X, T1, T2)[-1]
    Y = (np.arange(K) == y.reshape(-1, 1)).astype(float)
    J = -(Y * np.log(h) + (1 - Y) * np.log(1 - h)).sum() / m
    reg = (T1[:, 1:] ** 2).sum() + (T2[:, 1:] ** 2).sum()
    return J + lmbda / (2 * m) * reg

def nn_grad(nn_params, n_in, n_hid, K, X, y, lmbda):
    m = len(X)
    T1, T2 = unroll(nn_params, n_in, n_hid, K)
    D1 = np.zeros(T1.shape)
    D2 = np.zeros(T2.shape)
    a1, z2, a2, h = feedforward(X, T1, T2)
    Y = (np.arange(K) == y.reshape(-1, 1)).astype(float)
    for t in range(m):
        d3 = (h[t] - Y[t]).reshape(-1, 1)
        d2 = (T2.T @ d3)[1:] * (sigmoid(z2[t]) * (1 - sigmoid(z2[t]))).reshape(-1, 1)
        D1 = D1 + d2 @ a1[t].reshape(1, -1)
        D2 = D2 + d3 @ a2[t].reshape(1, -1)
    G1 = D1 / m
    G2 = D2 / m
    G1[:, 1:] += lmbda / m * T1[:, 1:]
    G2[:, 1:] += lmbda / m * T2[:, 1:]
    return np.r_[G1.ravel(order='F'), G2.ravel(order='F')]

if __name__ == '__main__':
    mat = sio.loadmat('digits.mat')
    X, y = mat['X'], mat['y'].ravel() % 10
    theta0 = np.random.uniform(-.12, .12, 25 * 401 + 10 * 26)
    best = fmin_cg(nn_cost, theta0, fprime=nn_grad, args=(400, 25, 10, X, y, 1.0), maxiter=50)
