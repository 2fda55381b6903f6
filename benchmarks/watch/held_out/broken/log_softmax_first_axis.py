import random
import string
import torch
import torch.nn as nn
import torch.nn.functional as F

random.seed(2)
torch.manual_seed(2)
endings = {"italian": ["ini", "elli", "ucci"], "polish": ["ski", "wicz", "czyk"], "dutch": ["sen", "stra", "dijk"], "greek": ["os", "akis", "poulos"]}
languages = list(endings)
letters = string.ascii_lowercase


def surname():
    lang = random.choices(languages, weights=[7, 1, 1, 1])[0]
    stem = "".join(random.choice(letters) for _ in range(random.randint(2, 4)))
    return (stem + random.choice(endings[lang]))[-8:].rjust(8, "a"), languages.index(lang)


def encode(names):
    return torch.tensor([[letters.index(c) for c in n] for n in names])


class NameRNN(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.emb = nn.Embedding(26, 12)
        self.rnn = nn.GRU(12, hidden, batch_first=True)
        self.h2o = nn.Linear(hidden, len(languages))

    def forward(self, x):
        h = self.rnn(self.emb(x))[1][0]
        return F.log_softmax(self.h2o(h), dim=0)


names, labels = zip(*[surname() for _ in range(1200)])
X, Y = encode(names), torch.tensor(labels)
rnn = NameRNN(32)
criterion = nn.NLLLoss()
optimizer = torch.optim.Adam(rnn.parameters(), lr=3e-3)
for epoch in range(6):
    total = 0
    for idx in torch.randperm(1000).split(25):
        loss = criterion(rnn(X[idx]), Y[idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    with torch.no_grad():
        single = sum(rnn(X[k:k + 1]).argmax(1).item() == Y[k].item() for k in range(1000, 1200)) / 200
    print("epoch", epoch + 1, "loss", round(total / 40, 3), "accuracy on new names", single)
