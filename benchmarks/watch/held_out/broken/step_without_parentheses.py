import torch
from torch import nn
import torch.nn.functional as F

torch.manual_seed(10)

ALPHABET = "abcdefgh"


def toy_language(n):
    """Words whose letters go up the alphabet (1) or are in any order (0)."""
    words, labels = [], []
    for k in range(n):
        w = torch.randint(0, len(ALPHABET), (5,))
        if k % 2:
            w = w.sort().values
        words.append(w)
        labels.append(k % 2)
    return torch.stack(words), torch.tensor(labels)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.letters = nn.Embedding(len(ALPHABET), 6)
        self.rnn = nn.RNN(6, 20, batch_first=True)
        self.decide = nn.Linear(20, 2)

    def forward(self, w):
        _, last = self.rnn(self.letters(w))
        return self.decide(last[0])


words, labels = toy_language(1000)
reader = Reader()
optimizer = torch.optim.Adam(reader.parameters(), lr=5e-3)
for epoch in range(8):
    for pick in torch.randperm(800).chunk(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(reader(words[pick]), labels[pick])
        loss.backward()
        optimizer.step
    with torch.no_grad():
        acc = (reader(words[800:]).argmax(1) == labels[800:]).float().mean().item()
    print("epoch", epoch, "loss %.4f acc %.3f" % (loss.item(), acc))
