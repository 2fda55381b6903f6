# character level GRU on a made-up text
import argparse
import torch
import torch.nn as nn

parser = argparse.ArgumentParser()
parser.add_argument("--hidden", type=int, default=32)
parser.add_argument("--lr", type=float, default=0.5)
parser.add_argument("--clip", type=float, default=0.001, help="gradient clipping")
parser.add_argument("--bptt", type=int, default=16)
args = parser.parse_args()

torch.manual_seed(1)
text = "the quick brown fox jumps over the lazy dog. " * 60
chars = sorted(set(text))
ids = torch.tensor([chars.index(c) for c in text])
batch = 10
ids = ids[: len(ids) // batch * batch].view(batch, -1)


class CharRNN(nn.Module):
    def __init__(self, n, hidden):
        super().__init__()
        self.emb = nn.Embedding(n, 16)
        self.rnn = nn.GRU(16, hidden, batch_first=True)
        self.dec = nn.Linear(hidden, n)

    def forward(self, x, h):
        out, h = self.rnn(self.emb(x), h)
        return self.dec(out), h


model = CharRNN(len(chars), args.hidden)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
for epoch in range(6):
    h = torch.zeros(1, batch, args.hidden)
    total = n = 0
    for i in range(0, ids.size(1) - args.bptt - 1, args.bptt):
        x, y = ids[:, i:i + args.bptt], ids[:, i + 1:i + 1 + args.bptt]
        optimizer.zero_grad()
        out, h = model(x, h.detach())
        loss = criterion(out.reshape(-1, len(chars)), y.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        optimizer.step()
        total, n = total + loss.item(), n + 1
    print("| epoch {:2d} | loss {:5.3f} | ppl {:8.2f}".format(epoch, total / n, 2.718281828 ** (total / n)))
