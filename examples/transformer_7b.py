"""A transformer of 6.7 billion parameters in plain torch, told of without allocating it.

    python -m timeline breakdown examples.transformer_7b:make --input 2048:int64 --batch 1 \
        --optimizer adamw --loss cross_entropy

The sizes are those of Llama 2 7B (Touvron et al., 2023, table 1). In float32 its weights would take
25 GiB; the command needs no more memory than torch itself and some tens of MiB.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

WORDS, WIDTH, BLOCKS, HEADS, INNER = 32_000, 4096, 32, 32, 11_008
TOKENS = 4096


class Attention(nn.Module):
    """Causal, with rotated positions (Su et al., 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (
            product(x).view(batch, tokens, HEADS, -1).transpose(1, 2)
            for product in (self.q, self.k, self.v)
        )
        q, k = rotated(q, cosine, sine), rotated(k, cosine, sine)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(seen.transpose(1, 2).reshape(batch, tokens, WIDTH))


def rotated(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_product = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.attention = Attention()
        self.gate, self.up = (nn.Linear(WIDTH, INNER, bias=False) for _ in range(2))
        self.down = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.before_attention(x), cosine, sine)
        given = self.before_product(x)
        return x + self.down(F.silu(self.gate(given)) * self.up(given))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.last = nn.RMSNorm(WIDTH)
        self.scores = nn.Linear(WIDTH, WORDS, bias=False)
        half = WIDTH // HEADS // 2
        speeds = 10_000.0 ** -(torch.arange(half) / half)
        angles = torch.outer(torch.arange(TOKENS), speeds).repeat(1, 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        many = tokens.shape[1]
        x = self.words(tokens)
        for block in self.blocks:
            x = block(x, self.cosine[:many], self.sine[:many])
        return self.scores(self.last(x))


def make() -> nn.Module:
    return Transformer()
