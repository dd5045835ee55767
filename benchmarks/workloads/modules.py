"""What a call of a module costs: the outermost, which is marked, and the ones inside it.

Prints one JSON document; run it bare and recorded, and subtract. Bare, it also takes the least
that a mark with a reading can be, in the same place.
"""

import json
import statistics
import sys
import time

from least import prototype


def main(repeats):
    import torch
    from torch import nn

    torch.set_num_threads(1)

    class Nothing(nn.Module):
        def forward(self, x):
            return x

    class Slow(nn.Module):
        def forward(self, x):
            time.sleep(0.02)
            return x

    slow = Slow().eval()
    few = nn.Sequential(*(Nothing() for _ in range(10))).eval()
    many = nn.Sequential(*(Nothing() for _ in range(110))).eval()
    one = Nothing().eval()
    x = torch.zeros(1)
    clock = time.perf_counter_ns
    mark = prototype()

    def calls(module, count):
        took = []
        for _ in range(count):
            begun = clock()
            module(x)
            took.append(clock() - begun)
        return took

    with torch.no_grad():
        calls(one, 200)
        sparse, dense, inner, least = [], [], [], []
        for _ in range(repeats):
            # Marks that come rarely all carry a reading: rest until there is room for 200 calls.
            # A slow call ends at once what dense marks before have brought about.
            time.sleep(0.4)
            slow(x)
            sparse += calls(one, 200)
            for _ in range(200):
                begun = clock()
                mark()
                least.append(clock() - begun)
            # Then past it: marks that carry time alone.
            calls(one, 2000)
            dense += calls(one, 500)
            small, large = statistics.median(calls(few, 100)), statistics.median(calls(many, 100))
            inner.append((large - small) / 100)
    print(
        json.dumps(
            {
                "sparse_us": statistics.median(sparse) / 1000,
                "dense_us": statistics.median(dense) / 1000,
                "inner_us": statistics.median(inner) / 1000,
                "least_us": statistics.median(least) / 1000,
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
