"""The series of a recording: the channels that meta.json speaks of, found in the streams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from timeline.recording.documents import Document, clean
from timeline.recording.format import PROCESS_STREAMS, samples_name, stream_of
from timeline.recording.samples import Stream, read_stream
from timeline.recording.types import Channel, Series


def read_series(
    directory: Path,
    names: Sequence[str],
    meta: Document,
    promised: Document,
    live: bool,
    damage: list[str],
) -> dict[str, Series]:
    """The series by channel name, in the order of ``meta.json``.

    Args:
        directory, names: the run directory and its files.
        meta: its ``channels`` say which field of which stream each one is.
        promised: how many rows each stream should have, as far as that is known.
        live: whether the files may be growing.
        damage: gets a sentence for each thing that was lost.

    Raises:
        NoRecordingError: a file of samples may not be read.
    """
    streams = _read_streams(directory, names, promised, live, damage)
    series: dict[str, Series] = {}
    left = dict(streams)
    channels = meta.inner("channels")
    backend = meta.text("backend", "unknown")
    for key in channels.found:
        entry = channels.inner(key)
        channel = Channel(
            name=clean(key),
            unit=entry.text("unit", "byte"),
            source=entry.text("source", backend),
            exact=entry.truth("exact"),
            reason=entry.text("reason"),
        )
        name = entry.text("stream")
        stream = streams.get(name)
        left.pop(name, None)
        if stream is not None:
            series[channel.name] = stream.series(channel, entry.text("value"), entry.text("high"))
        else:
            series[channel.name] = _empty(channel)
            if not live:
                damage.append(f"{channel.name} has no samples: there is no {samples_name(name)}")
    # Without meta.json, or with a damaged one, a stream still says what it holds.
    for name, stream in left.items():
        for field in stream.fields:
            channel = Channel(clean(f"{name}.{field}"), "byte", backend, True)
            if not len(series.get(channel.name, ())):
                series[channel.name] = stream.series(channel, field, stream.high_of(field))
    for stream in streams.values():
        damage += stream.damage
    return series


def _read_streams(
    directory: Path, names: Sequence[str], promised: Document, live: bool, damage: list[str]
) -> dict[str, Stream]:
    streams: dict[str, Stream] = {}
    for name in names:
        stream = stream_of(name)
        if stream is None or stream in PROCESS_STREAMS:
            continue
        try:
            streams[stream] = read_stream(directory / name, promised.integer(stream, 0), live)
        except (OSError, ValueError) as error:
            # A writer that lives may have made the file and not its header yet.
            if not live:
                damage.append(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}")
    return streams


def _empty(channel: Channel) -> Series:
    none = np.empty(0, np.int64)
    return Series(channel, none, none, none, none, np.empty(0, np.int64))
