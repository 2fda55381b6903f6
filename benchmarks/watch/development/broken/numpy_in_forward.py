import numpy as np
import torch
from torch import nn

# toy sentiment: sentences over a vocabulary of 50 words, a few of them good or bad
rng = np.random.default_rng(0)
torch.manual_seed(0)
score = np.zeros(50)
score[5:20] = 1
score[20:35] = -1
sentences = rng.integers(0, 50, size=(1200, 12))
labels = (score[sentences].sum(1) > 0).astype(np.int64)
sentences, labels = torch.from_numpy(sentences), torch.from_numpy(labels)


class BagOfWords(nn.Module):
    def __init__(self, vocab, emb=8, hidden=16):
        super().__init__()
        self.embedding = nn.Embedding(vocab, emb)
        self.fc1 = nn.Linear(emb, hidden)
        self.fc2 = nn.Linear(hidden, 2)

    def forward(self, tokens):
        e = self.embedding(tokens).mean(1)
        h = self.fc1(e)
        h = torch.from_numpy(np.maximum(h.detach().numpy(), 0))
        return self.fc2(h)


model = BagOfWords(50)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()
for epoch in range(10):
    correct = 0
    for i in range(0, 1000, 40):
        x, y = sentences[i:i + 40], labels[i:i + 40]
        optimizer.zero_grad()
        logits = model(x)
        loss = criterion(logits, y)
        loss.backward()
        optimizer.step()
        correct += (logits.argmax(1) == y).sum().item()
    val = (model(sentences[1000:]).argmax(1) == labels[1000:]).float().mean().item()
    print(f"epoch {epoch}: train {correct / 1000:.3f} val {val:.3f}")
