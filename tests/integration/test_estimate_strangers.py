"""Scripts in the manner of well-known ones, with what strangers do in them, are followed whole."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

MiB = 1 << 20


@pytest.fixture
def told(estimate):
    """``told(text)`` is the key ``estimate`` of the document; the script came to no harm."""

    def run_it(text: str):
        ended = estimate(text)
        assert ended.code == 0, ended.stderr
        found = json.loads(ended.stdout)["estimate"]
        assert found["cut_off"] == ""
        return found

    return run_it


def test_what_a_script_saves_it_can_copy_and_load_again(told, tmp_path):
    torch.save({"x": torch.randn(1000, 256), "y": torch.randint(5, (1000,))}, tmp_path / "data.pt")
    there = {each.name for each in tmp_path.iterdir()} | {"script.py"}
    found = told(
        """
import os, shutil, tempfile
import torch
from torch import nn

data = torch.load("data.pt", map_location="cuda")
x, y = data["x"], data["y"]
model = nn.Sequential(nn.Linear(256, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 5)).cuda()
optimizer = torch.optim.AdamW(model.parameters())

def save(path, state):
    number, name = tempfile.mkstemp(dir=".")
    os.close(number)
    torch.save(state, name)
    os.replace(name, path)

for step in range(1000):
    chosen = torch.randperm(len(x), device="cuda")[:128]
    loss = nn.functional.cross_entropy(model(x[chosen]), y[chosen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    save("last.pt", state)
    shutil.copyfile("last.pt", "best.pt")
    best = torch.load("best.pt", map_location="cuda:0", weights_only=False)
    assert best["step"] == step and os.path.getsize("best.pt") > 0
    assert best["model"]["0.weight"].is_cuda and best["model"]["1.running_mean"].shape == (512,)
    assert not torch.load("best.pt", map_location="cpu")["model"]["0.weight"].is_cuda
    model.load_state_dict(best["model"])
    optimizer.load_state_dict(best["optimizer"])
"""
    )
    assert {each.name for each in tmp_path.iterdir()} == there
    categories = found["course"]["categories"]
    assert max(categories["input"]) >= 1000 * 256 * 4 + 1000 * 8  # the data set on the card
    numbers = 256 * 512 + 512 + 2 * 512 + 512 * 5 + 5
    # While the old state is there, the one that was loaded is, too: of model and optimizer.
    assert found["peak_allocated"] > 1000 * 256 * 4 + 2 * 3 * numbers * 4


def test_a_gan_of_the_old_school_trains_its_maker_every_fifth_step(told):
    found = told(
        """
import numpy as np
import torch
from torch import autograd, nn
from torch.autograd import Variable
from torch.utils.data import DataLoader, TensorDataset

cuda = torch.cuda.is_available()
Tensor = torch.cuda.FloatTensor if cuda else torch.FloatTensor
makes = nn.Sequential(nn.Linear(64, 256), nn.LeakyReLU(0.2, inplace=True), nn.Linear(256, 784))
judges = nn.Sequential(nn.Linear(784, 256), nn.LeakyReLU(0.2, inplace=True), nn.Linear(256, 1))
if cuda:
    makes.cuda()
    judges.cuda()
of_maker, of_judge = (torch.optim.Adam(each.parameters(), 2e-4) for each in (makes, judges))

def penalty(real, fake):
    alpha = Tensor(np.random.random((real.size(0), 1)))
    between = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    ones = Variable(Tensor(real.shape[0], 1).fill_(1.0), requires_grad=False)
    (slope,) = autograd.grad(judges(between), between, ones, create_graph=True)
    return ((slope.norm(2, dim=1) - 1) ** 2).mean()

for i, (pictures,) in enumerate(DataLoader(TensorDataset(torch.rand(3200, 784)), 64)):
    real = Variable(pictures.type(Tensor))
    of_judge.zero_grad()
    z = Variable(Tensor(np.random.normal(0, 1, (real.shape[0], 64))))
    fake = makes(z)
    loss = judges(fake).mean() - judges(real).mean() + 10 * penalty(real.data, fake.data)
    loss.backward()
    of_judge.step()
    of_maker.zero_grad()
    if i % 5 == 0:
        (-judges(makes(z)).mean()).backward()
        of_maker.step()
        print("[D loss: %f]" % loss.item())
"""
    )
    # Adam's two numbers for each parameter of both models, which are there after the sixth step.
    numbers = 64 * 256 + 256 + 256 * 784 + 784 + 784 * 256 + 256 + 256 + 1
    assert max(found["course"]["categories"]["optimizer_state"]) >= 2 * 4 * numbers
    assert not any("twice" in each for each in found["assumptions"])


def test_a_replay_memory_on_the_card_grows_and_decisions_are_made(told):
    found = told(
        """
import random
from collections import deque
import torch
from torch import nn
from torch.distributions import Categorical

device = torch.device("cuda")
net = nn.Sequential(nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, 2)).to(device)
net(torch.zeros(1, 4, device=device))
assert net[0].weight.is_cuda and net[0].weight.shape == (128, 4)
optimizer = torch.optim.AdamW(net.parameters(), amsgrad=True)
memory = deque(maxlen=10000)
state = torch.zeros(1, 4, device=device)
while True:
    with torch.no_grad():
        action = Categorical(logits=net(state)).sample().view(1, 1)
    if random.random() < 0.5:
        action = torch.tensor([[random.randint(0, 1)]], device=device, dtype=torch.long)
    assert action.item() in (0, 1)
    memory.append((state, action, torch.tensor([1.0], device=device)))
    state = torch.tensor([[random.random()] * 4], device=device)
    if len(memory) < 32:
        continue
    states, actions, rewards = map(torch.cat, zip(*random.sample(memory, 32)))
    loss = nn.functional.smooth_l1_loss(net(states).gather(1, actions)[:, 0], rewards)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
    )
    assert any("every step leaves about 28 B more behind" in each for each in found["assumptions"])
    assert found["steps"] == 16


def test_sentences_of_a_transformer_and_of_an_lstm_that_are_padded(told):
    pytest.importorskip("transformers")
    found = told(
        """
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForTokenClassification

config = BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
                    intermediate_size=128, vocab_size=1000, num_labels=9)
bert = BertForTokenClassification(config).cuda()
lstm, last = nn.LSTM(9, 32, batch_first=True).cuda(), nn.Linear(32, 9).cuda()
optimizer = torch.optim.AdamW([*bert.parameters(), *lstm.parameters(), *last.parameters()])

def together(several):
    several.sort(key=len, reverse=True)
    lengths = torch.tensor([len(each) for each in several])
    return pad_sequence(several, batch_first=True), lengths

sentences = [torch.randint(1, 1000, (10 + 7 * i % 50,)) for i in range(64)]
for epoch in range(100):
    for tokens, lengths in DataLoader(sentences, 8, collate_fn=together, num_workers=2):
        tokens = tokens.cuda(non_blocking=True)
        with torch.autocast("cuda", torch.bfloat16):
            scores = bert(input_ids=tokens, attention_mask=(tokens != 0).long()).logits
        packed = pack_padded_sequence(scores.float(), lengths, batch_first=True)
        hidden, counted = pad_packed_sequence(lstm(packed)[0], batch_first=True)
        assert hidden.is_cuda and counted.tolist() == lengths.tolist()
        loss = nn.functional.cross_entropy(last(hidden).flatten(0, 1), tokens.flatten() % 9)
        loss.backward()
        nn.utils.clip_grad_norm_(bert.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    bert.save_pretrained("best")
"""
    )
    said = " ".join(found["assumptions"])
    assert "saves a model, which has no values" in said
    assert "differ (from [8, " in said


def test_data_that_would_be_downloaded_are_asked_for_in_one_sentence(estimate):
    pytest.importorskip("torchvision")
    ended = estimate(
        "from torchvision import datasets\ndatasets.MNIST('data', download=True, train=True)\n"
    )
    assert ended.code == 1
    assert "script.py:2: RuntimeError: Error downloading" in ended.stderr
    assert "must be on this machine before" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
