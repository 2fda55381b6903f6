import random
import torch
import torch.nn as nn
from torch.nn.utils.rnn import pad_sequence, pack_padded_sequence
from torch.utils.data import Dataset, DataLoader, Sampler

random.seed(7)
torch.manual_seed(7)


class Brackets(Dataset):
    """Is the deepest nesting of a bracket word at least 3?"""

    def __init__(self, n):
        self.items = []
        while len(self.items) < n:
            length, depth, deepest, word = random.randint(2, 8) * 2, 0, 0, []
            for k in range(length):
                left = length - k
                up = depth == 0 or (depth < left and random.random() < 0.5)
                depth += 1 if up else -1
                deepest = max(deepest, depth)
                word.append(1 if up else 2)
            self.items.append((torch.tensor(word), int(deepest >= 3)))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class BucketSampler(Sampler):
    def __init__(self, data, size):
        self.by_length = sorted(range(len(data)), key=lambda i: len(data[i][0]))
        self.size = size

    def __iter__(self):
        batches = [self.by_length[k:k + self.size] for k in range(0, len(self.by_length), self.size)]
        random.shuffle(batches)
        return iter(batches)

    def __len__(self):
        return -(-len(self.by_length) // self.size)


def collate(items):
    words, labels = zip(*items)
    return pad_sequence(words, batch_first=True), torch.tensor([len(w) for w in words]), torch.tensor(labels).float()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(3, 8, padding_idx=0)
        self.gru = nn.GRU(8, 24, batch_first=True)
        self.out = nn.Linear(24, 1)

    def forward(self, words, lengths):
        packed = pack_padded_sequence(self.emb(words), lengths, batch_first=True, enforce_sorted=False)
        return self.out(self.gru(packed)[1][0]).squeeze(1)


train, test = Brackets(800), Brackets(200)
loader = DataLoader(train, batch_sampler=BucketSampler(train, 32), collate_fn=collate)
net, lossf = Net(), nn.BCEWithLogitsLoss()
opt = torch.optim.Adam(net.parameters(), lr=1e-2)
for epoch in range(8):
    for words, lengths, labels in loader:
        loss = lossf(net(words, lengths), labels)
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        words, lengths, labels = collate(test.items)
        print("epoch", epoch, "loss", round(loss.item(), 3), "acc", ((net(words, lengths) > 0) == (labels > 0.5)).float().mean().item())
