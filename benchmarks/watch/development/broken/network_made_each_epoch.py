import random
import torch
import torch.nn as nn
import torch.nn.functional as F

random.seed(1)
torch.manual_seed(1)
vocab = {w: i for i, w in enumerate("<pad> the a cat dog bird runs sings sleeps fast slow red blue old new".split())}
topics = {0: ["cat", "dog", "sleeps"], 1: ["bird", "sings", "fast"], 2: ["red", "blue", "old"]}


def sentence(topic):
    words = [random.choice(list(vocab)[1:]) for _ in range(7)] + [random.choice(topics[topic])]
    random.shuffle(words)
    return [vocab[w] for w in words]


labels = [random.randrange(3) for _ in range(400)]
data = torch.tensor([sentence(t) for t in labels])
labels = torch.tensor(labels)


class TextCNN(nn.Module):
    def __init__(self, n_words, n_classes):
        super().__init__()
        self.emb = nn.Embedding(n_words, 10, padding_idx=0)
        self.conv = nn.Conv1d(10, 16, 3, padding=1)
        self.out = nn.Linear(16, n_classes)

    def forward(self, x):
        h = F.relu(self.conv(self.emb(x).transpose(1, 2)))
        return self.out(h.max(-1).values)


n_epochs = 8
for epoch in range(n_epochs):
    net = TextCNN(len(vocab), 3)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    total = 0
    for idx in torch.randperm(400).split(20):
        opt.zero_grad()
        loss = F.cross_entropy(net(data[idx]), labels[idx])
        loss.backward()
        opt.step()
        total += loss.item()
    acc = (net(data).argmax(1) == labels).float().mean().item()
    print(f"epoch {epoch + 1}/{n_epochs} loss {total / 20:.3f} acc {acc:.3f}")
