import torch as t
import torch.nn as nn
import torch.nn.functional as F
import imageset

t.manual_seed(3)


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 8, 3)
        self.c2 = nn.Conv2d(8, 16, 3)
        self.embed = nn.Linear(144, 4)

    def extract(self, img):
        return F.relu(self.c2(F.relu(self.c1(img)))).flatten(1)

    def forward(self, img):
        with t.no_grad():
            feats = self.extract(img)
        return self.embed(feats)


def contrastive(a, b, same, margin=1.5):
    d = F.pairwise_distance(a, b)
    return (same * d.pow(2) + (1 - same) * F.relu(margin - d).pow(2)).mean()


imgs, labs = imageset.load("train", 1200)
imgs, labs = t.from_numpy(imgs).unsqueeze(1), t.from_numpy(labs)
order = labs.argsort()
test_imgs, test_labs = imageset.load("test", 300)
test_imgs, test_labs = t.from_numpy(test_imgs).unsqueeze(1), t.from_numpy(test_labs)
net = Siamese()
opt = t.optim.Adam(net.parameters(), lr=2e-3)

for it in range(1, 301):
    i = t.randint(0, len(imgs), (64,))
    j = t.randint(0, len(imgs), (64,))
    for k in range(0, 64, 2):  # every other pair of the same class
        mates = (labs == labs[i[k]]).nonzero().flatten()
        j[k] = mates[t.randint(0, len(mates), (1,))]
    loss = contrastive(net(imgs[i]), net(imgs[j]), (labs[i] == labs[j]).float())
    opt.zero_grad(); loss.backward(); opt.step()
    if it % 60 == 0:
        with t.no_grad():
            nearest = t.cdist(net(test_imgs), net(imgs)).argmin(1)
        print(it, 'loss', round(loss.item(), 4), '1-NN', (labs[nearest] == test_labs).float().mean().item())
