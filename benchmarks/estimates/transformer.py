"""The pre-norm transformer of the two public snapshots, and its five-step training by hand.

The model and the loop are those of groundtruth/README.md, written from its description: RMSNorm,
rotary embedding, SwiGLU, softmax and AdamW by hand, nothing in place but the weights.
"""

from __future__ import annotations

import math

import torch
from torch import nn


def linear(x, weight):
    return torch.einsum("...i,oi->...o", x, weight)


class Weight(nn.Module):
    def __init__(self, out, into):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, into))

    def forward(self, x):
        return linear(x, self.weight)


class Table(nn.Module):
    def __init__(self, count, width):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))

    def forward(self, ids):
        return self.weight[ids]


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x):
        before = x.dtype
        x = x.to(torch.float32)
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
        x = x * scale
        return (self.weight * x).to(before)


class Rotary(nn.Module):
    def __init__(self, context, width):
        super().__init__()
        cache = torch.empty(2, context, width // 2)
        self.register_buffer("cache", cache, persistent=False)

    def forward(self, x):
        first, second = x.unflatten(-1, (x.shape[-1] // 2, 2)).unbind(-1)
        cos, sin = self.cache
        turned = cos * first - sin * second, sin * first + cos * second
        return torch.stack(turned, dim=-1).flatten(-2)


def softmax(x):
    x = x - torch.max(x, dim=-1, keepdim=True)[0]
    x = torch.exp(x)
    return x / torch.sum(x, dim=-1, keepdim=True)


class Attention(nn.Module):
    def __init__(self, width, heads, rotary):
        super().__init__()
        self.q, self.k, self.v, self.out = (Weight(width, width) for _ in range(4))
        self.heads = heads
        self.rotary = rotary

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (
            each(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for each in (self.q, self.k, self.v)
        )
        q, k = self.rotary(q), self.rotary(k)
        at = torch.arange(length)
        mask = (at[:, None] >= at[None, :])[None, None]
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
        scores = torch.where(mask, scores, float("-inf"))
        mixed = torch.einsum("bhqk,bhkd->bhqd", softmax(scores), v)
        joined = mixed.transpose(1, 2).reshape(batch, length, width).contiguous()
        return self.out(joined)


class FeedForward(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.w1, self.w2, self.w3 = Weight(inner, width), Weight(width, inner), Weight(inner, width)

    def forward(self, x):
        gate = self.w1(x)
        return self.w2(gate * torch.sigmoid(gate) * self.w3(x))


class Block(nn.Module):
    def __init__(self, width, heads, inner, rotary):
        super().__init__()
        self.attention = Attention(width, heads, rotary)
        self.feed = FeedForward(width, inner)
        self.norm1, self.norm2 = Norm(width), Norm(width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feed(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, context, width=1024, blocks=24, heads=16, inner=4096, vocabulary=10_000):
        super().__init__()
        self.embedding = Table(vocabulary, width)
        rotary = Rotary(context, width // heads)
        self.blocks = nn.ModuleList(Block(width, heads, inner, rotary) for _ in range(blocks))
        self.norm = Norm(width)
        self.head = Weight(vocabulary, width)

    def forward(self, ids):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def cross_entropy(logits, targets):
    logits = logits - torch.max(logits, dim=-1, keepdim=True)[0]
    chances = logits - torch.log(torch.sum(torch.exp(logits), dim=-1, keepdim=True))
    return -torch.gather(chances, -1, targets.unsqueeze(-1)).squeeze(-1).mean()


class AdamW(torch.optim.Optimizer):
    """By hand: a loop over the parameters, all out of place."""

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, decay=0.01):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "decay": decay})

    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                grad = p.grad.data
                p.data -= group["lr"] * group["decay"] * p.data
                # The default is made each time, also where it is not needed.
                m = state.get("m", torch.zeros_like(p.data))
                v = state.get("v", torch.zeros_like(p.data))
                m = b1 * m + (1 - b1) * grad
                v = b2 * v + (1 - b2) * grad**2
                p.data -= group["lr"] * m / (torch.sqrt(v) + group["eps"])
                state["m"], state["v"] = m, v


def follow(context, precision, platform):
    """The tape of a warm-up step and of the step that was measured.

    The five warm-up steps are alike; what the first leaves behind is what the fifth does.
    """
    from contextlib import nullcontext

    from timeline.theory.following import following
    from timeline.theory.loop import move
    from timeline.theory.step import PRECISIONS

    cast = PRECISIONS[precision]
    with following(platform) as taping:
        taping.begin("load")
        model = Transformer(context)
        move(taping, model)
        optimizer = AdamW(model.parameters())
        batches = [torch.empty(steps, 4, context, dtype=torch.int64) for steps in (5, 5, 1, 1)]
        taping.is_("input", batches)
        stop = taping.watch(model)

        def step(ids, targets):
            taping.step()
            taping.begin("step/forward")
            autocast = torch.autocast("cpu", dtype=cast) if cast else nullcontext()
            with autocast, taping.saving():
                output = model(ids)
                taping.begin("step/loss")
                loss = cross_entropy(output, targets)
            taping.begin("step/backward")
            loss.backward()
            taping.is_("gradient", (p.grad for p in model.parameters()))
            taping.begin("step/optimizer")
            optimizer.step()
            kept = (each for state in optimizer.state.values() for each in state.values())
            taping.is_("optimizer_state", kept)
            optimizer.zero_grad()

        step(batches[0][0], batches[1][0])
        step(batches[2][0], batches[3][0])
        stop()
        return taping.end()
