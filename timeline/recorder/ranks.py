"""Which rank of a job this process is: its launcher has said so in the environment.

Nothing here speaks to another rank. What all of them must agree upon is what all were told.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_RANKS = 1_000_000
"""A larger world is a typing error, or a variable that means something else."""

MOST_AT_THE_END = 64
"""A launcher waits for all its ranks, and while the first one reads more of them than this, for
seconds, a whole cluster would wait."""

_OPEN_MPI = "OMPI_COMM_WORLD_"

_LAUNCHERS = (
    # rank, number of ranks, rank on its node, number of the node, how often the job was restarted
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "TORCHELASTIC_RESTART_COUNT"),
    # Not SLURM_NTASKS: that one is there in a batch script too, which is one process.
    (
        "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NODEID",
        "SLURM_RESTART_COUNT",
    ),
    (f"{_OPEN_MPI}RANK", f"{_OPEN_MPI}SIZE", f"{_OPEN_MPI}LOCAL_RANK", "", ""),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "", ""),
)  # fmt: skip

_RUN_IDS = (
    ("TORCHELASTIC_RUN_ID",),
    ("SLURM_JOB_ID", "SLURM_STEP_ID"),
    ("PMIX_NAMESPACE",),
    ("OMPI_MCA_ess_base_jobid",),
    ("PBS_JOBID",),
    ("LSB_JOBID",),
    ("JOB_ID",),
)
"""Where launchers and schedulers put what they call this run; the first that is set counts."""

NO_ID = "none"
"""What torchrun calls a run that nobody gave a name."""


class Rank:
    """One of the processes that a launcher started together.

    Attributes:
        rank: 0 to ``world - 1``.
        world: how many there are.
        local: its number on its node, or None.
        node: the number of its node, or None.
        run: what the launcher or the scheduler calls the run; empty where it has no name.
        restart: how often the launcher has started all of them again.
        master: where they meet, ``address:port``; empty where that is not told.
        elastic: whether the launcher may start them again.
        place: tells the directory of all ranks apart on its file system, once it is known.
    """

    __slots__ = ("elastic", "local", "master", "node", "place", "rank", "restart", "run", "world")

    def __init__(
        self,
        rank: int,
        world: int,
        *,
        local: int | None = None,
        node: int | None = None,
        run: str = "",
        restart: int = 0,
        master: str = "",
        elastic: bool = False,
    ) -> None:
        self.rank = rank
        self.world = world
        self.local = local
        self.node = node
        self.run = run
        self.restart = restart
        self.master = master
        self.elastic = elastic
        self.place = ""

    def document(self) -> dict[str, object]:
        """What ``meta.json`` says of it."""
        own = {"rank": self.rank, "local": self.local, "node": self.node, "place": self.place}
        return {**own, **self.group()}

    def group(self) -> dict[str, object]:
        """What is the same for all ranks that were started together, and for no others."""
        return {
            "world": self.world,
            "run": self.run,
            "restart": self.restart,
            "master": self.master,
        }


def rank_of(environ: Mapping[str, str]) -> Rank | None:
    """The rank that the environment speaks of; None where this is a process on its own.

    A world of one counts where torchrun made it, which may start it again.
    """
    elastic = "TORCHELASTIC_RUN_ID" in environ
    for rank_key, world_key, local_key, node_key, restart_key in _LAUNCHERS:
        rank, world = _number(environ, rank_key), _number(environ, world_key)
        if rank is None or world is None or not rank < world <= MOST_RANKS:
            continue
        if world == 1 and not elastic:
            continue
        address, port = environ.get("MASTER_ADDR", ""), environ.get("MASTER_PORT", "")
        return Rank(
            rank,
            world,
            local=_number(environ, local_key),
            node=_number(environ, node_key),
            run=_run_id(environ),
            restart=_number(environ, restart_key) or 0,
            master=f"{address}:{port}" if address or port else "",
            elastic=elastic,
        )
    return None


def own_rank() -> Rank | None:
    """The rank of this process."""
    return rank_of(os.environ)


def shown(directory: str, rank: Rank | None) -> str:
    """Which directory this process makes charts of at its end; empty for none.

    Of all ranks of a run the first shows them all, as far as they are there: it waits for no other.
    """
    if rank is None or rank.world == 1:
        return directory
    if rank.rank or rank.world > MOST_AT_THE_END:
        return ""
    return os.path.dirname(directory)


def _run_id(environ: Mapping[str, str]) -> str:
    for keys in _RUN_IDS:
        parts = [environ[key] for key in keys if environ.get(key)]
        text = ".".join(parts)[:200]
        if text and text != NO_ID:
            return text
    return ""


def _number(environ: Mapping[str, str], key: str) -> int | None:
    text = environ.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else None
