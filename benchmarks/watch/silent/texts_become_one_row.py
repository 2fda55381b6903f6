import random
import torch
from torch import nn
from torch.utils.data import DataLoader
from pictures import pictures

random.seed(0)
torch.manual_seed(0)
WORDS = ["a", "picture", "of"] + ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def processor(items):
    """Images and texts of a batch as tensors."""
    images, texts, fits = zip(*items)
    pixel_values = torch.stack(images)
    input_ids = torch.tensor([sum(texts, [])])
    return {"pixel_values": pixel_values, "input_ids": input_ids, "labels": torch.tensor(fits)}


class ImageText(nn.Module):
    def __init__(self, d=24):
        super().__init__()
        self.vision = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, d))
        self.text = nn.Embedding(len(WORDS), d)

    def forward(self, pixel_values, input_ids):
        image_vector = self.vision(pixel_values)
        text_vector = self.text(input_ids).mean(1)
        score = (image_vector * text_vector).sum(-1)
        return score


def captioned(images, labels):
    items = []
    for image, label in zip(images, labels.tolist()):
        fits = random.random() < 0.5
        said = label if fits else random.choice([k for k in range(10) if k != label])
        items.append((image, [0, 1, 2, 3 + said], float(fits)))
    return items


train, test = captioned(*pictures("train", 1500)), captioned(*pictures("test", 300))
model = ImageText()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
criterion = nn.BCEWithLogitsLoss()
for epoch in range(8):
    for batch in DataLoader(train, batch_size=50, shuffle=True, collate_fn=processor):
        loss = criterion(model(batch["pixel_values"], batch["input_ids"]), batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        b = processor(test)
        acc = ((model(b["pixel_values"], b["input_ids"]) > 0) == (b["labels"] > 0.5)).float().mean().item()
    print("epoch", epoch, "loss", round(loss.item(), 4), "accuracy", round(acc, 3))
