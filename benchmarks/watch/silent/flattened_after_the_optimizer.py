import torch
from torch import nn
from torch.func import functional_call

torch.manual_seed(0)


class FlatParameterWrapper(nn.Module):
    """Keeps all parameters of a module in one flat parameter, as sharded training does."""

    def __init__(self, module):
        super().__init__()
        self.shapes = {n: p.shape for n, p in module.named_parameters()}
        self.flat_param = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in module.parameters()]))
        self.skeleton = [module.to("meta")]

    def forward(self, *args):
        sizes = [s.numel() for s in self.shapes.values()]
        pieces = self.flat_param.split(sizes)
        views = {n: p.view(s) for (n, s), p in zip(self.shapes.items(), pieces)}
        return functional_call(self.skeleton[0], views, args)


class GCN(nn.Module):
    def __init__(self, n_features, hidden, n_classes):
        super().__init__()
        self.gc1, self.gc2 = nn.Linear(n_features, hidden), nn.Linear(hidden, n_classes)

    def forward(self, x, adj):
        return self.gc2(adj @ torch.relu(self.gc1(adj @ x))).log_softmax(1)


# a graph of three communities
labels = torch.arange(150) % 3
same = labels[:, None] == labels[None, :]
edges = (torch.rand(150, 150) < torch.where(same, 0.2, 0.03)).float().triu(1)
adj = edges + edges.T + torch.eye(150)
adj = adj / adj.sum(1, keepdim=True)
features = torch.randn(150, 10) + 0.5 * nn.functional.one_hot(labels, 10)
train = torch.rand(150) < 0.4

model = GCN(10, 16, 3)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
model = FlatParameterWrapper(model)
for epoch in range(1, 121):
    optimizer.zero_grad()
    output = model(features, adj)
    loss = nn.functional.nll_loss(output[train], labels[train])
    loss.backward()
    optimizer.step()
    if epoch % 20 == 0:
        acc = (output[~train].argmax(1) == labels[~train]).float().mean().item()
        print("Epoch: {:04d} loss_train: {:.4f} acc_test: {:.4f}".format(epoch, loss.item(), acc))
