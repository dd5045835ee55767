"""DataLoader workers of every kind beside torch: found, named, and summed to 3 %."""

from __future__ import annotations

import json
import sys
import textwrap

import numpy as np
import pytest

from timeline.interchange.loading import load

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads the files of Linux"),
]

LOADERS = """
    import json, os, sys, time, warnings
    warnings.simplefilter("ignore")
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Images(Dataset):
        def __init__(self):
            self.kept = torch.ones(100 << 18)
        def __len__(self):
            return 64
        def __getitem__(self, i):
            return self.kept[i * 1000 :][:20000]

    def rollup(pid):
        with open(f"/proc/{pid}/smaps_rollup") as file:
            text = file.read()
        return [int(text.partition(key)[2].split()[0]) << 10 for key in ("\\nRss:", "\\nPss:")]

    if __name__ == "__main__":
        images, pids = Images(), {}
        for kind, workers in (("spawn", 1), ("forkserver", 1), ("fork", 2)):
            loader = DataLoader(images, batch_size=8, num_workers=workers,
                                multiprocessing_context=kind)
            batches = iter(loader)
            pids[kind] = [worker.pid for worker in batches._workers]
            next(batches)
            time.sleep(1)  # without the kernel's notices a name is seen at a reading alone
            for _ in batches:
                pass
            del batches
        loader = DataLoader(images, batch_size=8, num_workers=8, persistent_workers=True,
                            multiprocessing_context="fork")
        for _ in range(2):
            for _ in loader:
                pass
        lasting = [worker.pid for worker in loader._iterator._workers]
        time.sleep(3)
        me = os.getpid()
        with open(f"/proc/{me}/task/{me}/children") as file:
            children = [int(word) for word in file.read().split()]
        def rows_of_pss():
            with open("run.timeline/samples.pss.npy", "rb") as file:
                return os.fstat(file.fileno()).st_size // 44
        sums, before = [], rows_of_pss()
        for number in range(120):
            # It is read as seldom as it is dear, which a busy machine makes it.
            enough = number > 10 and rows_of_pss() > before
            below = [rollup(pid) for pid in children]
            own = rollup(me)
            sums.append({
                "at": time.monotonic_ns(),
                "children.rss": sum(each[0] for each in below),
                "children.pss": sum(each[1] for each in below),
                "total.pss": own[1] + sum(each[1] for each in below),
            })
            if enough:
                break
            time.sleep(0.5)
        print(json.dumps({"pids": pids, "living": children, "workers": lasting, "sums": sums}))
"""


def test_workers_of_every_kind_are_found_and_their_sums_are_right(write_script, run_timeline):
    ended = run_timeline(write_script(textwrap.dedent(LOADERS)))
    assert ended.code == 0, ended.stderr
    seen = json.loads(next(line for line in ended.stdout.splitlines() if line.startswith("{")))
    recording = load(ended.recording)
    found = {process.pid: process for process in recording.processes}
    for kind, pids in seen["pids"].items():
        assert set(pids) <= set(found), kind
    assert set(seen["living"]) <= set(found)
    workers = [pid for pids in seen["pids"].values() for pid in pids] + seen["workers"]
    assert len(workers) == 12
    assert {found[pid].name for pid in workers} == {"pt_data_worker"}
    seen = {key: np.array([each[key] for each in seen["sums"]]) for key in seen["sums"][0]}
    for name in ("children.rss", "children.pss", "total.pss"):
        series = recording.series[name]
        # Other programs that load torch, or end, change the family's share of its pages: so each
        # row is held against what the program itself read around that moment.
        during = (series.t_ns > seen["at"][0]) & (series.t_ns < seen["at"][-1])
        assert during.any(), name
        true = np.interp(series.t_ns[during], seen["at"], seen[name])
        assert (np.abs(series.value[during] - true) <= 0.03 * true).all(), name
    # Eight workers have the 100 MiB of the parent, and torch's own, without having them again.
    assert (seen["children.rss"] > 3 * seen["children.pss"]).all()
    assert [path.name for path in ended.recording.glob("events.*")] == [
        f"events.{recording.run.pid}.jsonl"
    ]
