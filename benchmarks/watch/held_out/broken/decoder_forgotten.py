# sequence reversal with an encoder and a decoder
import torch
import torch.nn as nn

torch.manual_seed(0)
SYMBOLS, LENGTH, HIDDEN = 8, 5, 48


class EncoderRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 16)
        self.gru = nn.GRU(16, HIDDEN, batch_first=True)

    def forward(self, seq):
        return self.gru(self.embedding(seq))[1]


class DecoderRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS + 1, 16)
        self.gru = nn.GRU(16, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN, SYMBOLS)

    def forward(self, previous, hidden):
        output, hidden = self.gru(self.embedding(previous), hidden)
        return self.out(output), hidden


encoder, decoder = EncoderRNN(), DecoderRNN()
optimizer = torch.optim.Adam(encoder.parameters(), lr=2e-3)
criterion = nn.CrossEntropyLoss()

for it in range(1, 401):
    seq = torch.randint(0, SYMBOLS, (64, LENGTH))
    target = seq.flip(1)
    shifted = torch.cat([torch.full((64, 1), SYMBOLS), target[:, :-1]], 1)
    optimizer.zero_grad()
    logits, _ = decoder(shifted, encoder(seq))
    loss = criterion(logits.reshape(-1, SYMBOLS), target.reshape(-1))
    loss.backward()
    optimizer.step()
    if it % 80 == 0:
        acc = (logits.argmax(-1) == target).float().mean().item()
        print("(%d %d%%) loss %.4f symbols right %.3f" % (it, it * 100 // 400, loss.item(), acc))
