import numpy as np

sigm = lambda v: 1/(1+np.exp(-v))

def net(X, w1, b1, w2, b2, w3, b3):
    h1 = sigm(X@w1 + b1)
    h2 = sigm(h1@w2 + b2)
    y = h2@w3 + b3
    return h1, h2, y

def gradients(X, T, w1, b1, w2, b2, w3, b3):
    # E = 1/2 sum (y-t)^2
    h1, h2, y = net(X, w1, b1, w2, b2, w3, b3)
    d3 = y - T
    gw3 = h2.T@d3
    gb3 = d3.sum(0)
    d2 = d3@w3.T * h2*(1-h2)
    gw2 = h1.T@d2
    gb2 = d2.sum(0)
    d1 = d2@w2.T * h1*(1-h1)
    gw1 = X.T@d1
    gb1 = d1.sum(0)
    return gw1, gb1, gw2, gb2, gw3, gb3

def fit(X, T, H1, H2, eta=1e-3, n=1000):
    rs = np.random.RandomState(0)
    P = [rs.randn(X.shape[1],H1), np.zeros(H1), rs.randn(H1,H2), np.zeros(H2), rs.randn(H2,T.shape[1]), np.zeros(T.shape[1])]
    for i in range(n):
        G = gradients(X, T, *P)
        P = [p - eta*g for p,g in zip(P,G)]
    return P
