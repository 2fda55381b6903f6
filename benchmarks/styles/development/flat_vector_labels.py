import numpy as np
from scipy.optimize import minimize

def sigmoid(z):
    g = 1.0 / (1.0 + np.exp(-z))
    return g

def sigmoidGradient(z):
    return sigmoid(z) * (1 - sigmoid(z))

def randInitializeWeights(L_in, L_out, epsilon=0.12):
    return np.random.rand(L_out, L_in + 1) * 2 * epsilon - epsilon

def costFunction(nn_params, input_layer_size, hidden_layer_size, num_labels, X, y, Lambda):
    split = hidden_layer_size * (input_layer_size + 1)
    Theta1 = np.reshape(nn_params[:split], (hidden_layer_size, input_layer_size + 1))
    Theta2 = np.reshape(nn_params[split:], (num_labels, hidden_layer_size + 1))
    m = X.shape[0]

    # labels run from 1 to num_labels
    Y = np.zeros((m, num_labels))
    for i in range(m):
        Y[i, int(y[i]) - 1] = 1

    a1 = np.hstack((np.ones((m, 1)), X))
    z2 = a1.dot(Theta1.T)
    a2 = np.hstack((np.ones((m, 1)), sigmoid(z2)))
    z3 = a2.dot(Theta2.T)
    h = sigmoid(z3)

    J = np.sum(-Y * np.log(h) - (1 - Y) * np.log(1 - h)) / m
    J += Lambda / (2 * m) * (np.sum(Theta1[:, 1:] ** 2) + np.sum(Theta2[:, 1:] ** 2))

    delta3 = h - Y
    delta2 = delta3.dot(Theta2[:, 1:]) * sigmoidGradient(z2)

    Theta1_grad = delta2.T.dot(a1) / m
    Theta2_grad = delta3.T.dot(a2) / m
    Theta1_grad[:, 1:] += Lambda / m * Theta1[:, 1:]
    Theta2_grad[:, 1:] += Lambda / m * Theta2[:, 1:]

    grad = np.concatenate((Theta1_grad.flatten(), Theta2_grad.flatten()))
    return J, grad

def trainNN(X, y, hidden_layer_size, num_labels, Lambda, maxiter=50):
    n = X.shape[1]
    theta0 = np.concatenate((randInitializeWeights(n, hidden_layer_size).ravel(),
                             randInitializeWeights(hidden_layer_size, num_labels).ravel()))
    res = minimize(costFunction, theta0, args=(n, hidden_layer_size, num_labels, X, y, Lambda),
                   jac=True, method='TNC', options={'maxfun': maxiter})
    return res.x
