import numpy as np

# Multinomial logistic regression. No hidden layer at all, so the gradient fits on four lines.

def new_model(n_inputs, n_classes):
    return dict(weights=0.01 * np.random.randn(n_inputs, n_classes), bias=np.zeros(n_classes))


def scores_to_probs(scores):
    shifted = scores - np.max(scores, axis=1, keepdims=True)
    expd = np.exp(shifted)
    return expd / np.sum(expd, axis=1, keepdims=True)


def loss_and_gradient(model, X, labels, decay=0.0):
    """
    X      : (n, n_inputs)
    labels : (n,) integers, 0 .. n_classes-1
    decay  : strength of the L2 penalty (not on the bias)
    """
    n = X.shape[0]
    probs = scores_to_probs(X @ model["weights"] + model["bias"])

    data_loss = np.mean(-np.log(probs[range(n), labels]))
    penalty = decay * np.sum(model["weights"] ** 2)

    dscores = probs.copy()
    dscores[range(n), labels] -= 1
    dscores /= n

    grad = dict(weights=X.T @ dscores, bias=np.sum(dscores, axis=0))
    grad["weights"] += 2 * decay * model["weights"]
    return data_loss + penalty, grad


def accuracy(model, X, labels):
    guess = np.argmax(X @ model["weights"] + model["bias"], axis=1)
    return np.mean(guess == labels)


def gradient_descent(model, X, labels, eta=0.1, steps=300, decay=1e-3):
    for step in range(steps):
        loss, grad = loss_and_gradient(model, X, labels, decay)
        if step % 50 == 0:
            print("step %4d   loss %.4f   acc %.3f" % (step, loss, accuracy(model, X, labels)))
        model["weights"] -= eta * grad["weights"]
        model["bias"] -= eta * grad["bias"]
