import torch
from torch import nn

torch.manual_seed(6)
# each word has a tag of its own, tags 0..3
words = list(range(80))
tag_of = torch.randint(0, 4, (80,))


class Tagger(nn.Module):
    def __init__(self, n_words):
        super().__init__()
        self.emb = nn.Embedding(n_words, 4)
        self.out = nn.Linear(4, 4)

    def grow(self, n_words):
        bigger = torch.zeros(n_words, 4)
        bigger[: self.emb.num_embeddings] = self.emb.weight.detach()
        self.emb = nn.Embedding.from_pretrained(bigger, freeze=False)

    def forward(self, w):
        return self.out(self.emb(w))


def batch(limit, n=64):
    w = torch.randint(0, limit, (n,))
    return w, tag_of[w]


tagger = Tagger(4)
optimizer = torch.optim.Adam(tagger.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()

# stage one: the vocabulary so far, a handful of words; stage two: all words
tagger.grow(len(words))

for step in range(400):
    w, t = batch(len(words))
    optimizer.zero_grad()
    loss = criterion(tagger(w), t)
    loss.backward()
    optimizer.step()
    if step % 100 == 99:
        acc = (tagger(torch.tensor(words)).argmax(1) == tag_of).float().mean().item()
        print("step", step + 1, "loss", round(loss.item(), 3), "words right", acc)
