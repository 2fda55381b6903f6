import torch
import torch.nn as nn
import imageset


class Estimator:
    """fit / predict / score"""

    def __init__(self, lr=0.1, batch_size=50, seed=0):
        torch.manual_seed(seed)
        self.batch_size = batch_size
        blocks = []
        width = 49
        for _ in range(5):
            blocks += [nn.Linear(width, 64, bias=False), nn.BatchNorm1d(64), nn.Dropout(0.1), nn.ReLU()]
            width = 64
        self.net = nn.Sequential(nn.Flatten(), *blocks, nn.Linear(width, 10))
        self.opt = torch.optim.SGD(self.net.parameters(), lr=lr, momentum=0.9)
        self.history_ = []

    def fit(self, X, y, X_val, y_val, epochs):
        for _ in range(epochs):
            for i in torch.randperm(len(X)).split(self.batch_size):
                loss = nn.functional.cross_entropy(self.net(X[i]), y[i])
                self.opt.zero_grad()
                loss.backward()
                self.opt.step()
            self.history_.append((loss.item(), self.score(X_val, y_val)))
            print("epoch %d: loss %.4f, validation %.3f" % (len(self.history_), *self.history_[-1]))
        return self

    def predict(self, X):
        self.net.eval()
        with torch.no_grad():
            return self.net(X).argmax(1)

    def score(self, X, y):
        return (self.predict(X) == y).float().mean().item()


X, y = (torch.from_numpy(a) for a in imageset.load("train", 1500))
X_val, y_val = (torch.from_numpy(a) for a in imageset.load("test", 400))
est = Estimator().fit(X * 0.01, y, X_val * 0.01, y_val, epochs=7)
print("best", max(v for _, v in est.history_))
