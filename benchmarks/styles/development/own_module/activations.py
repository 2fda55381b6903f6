import numpy as np

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def d_sigmoid(a):
    """derivative, written in the activation a = sigmoid(z)"""
    return a * (1 - a)

def tanh(z):
    return np.tanh(z)

def d_tanh(a):
    """derivative, written in the activation a = tanh(z)"""
    return 1 - a ** 2
