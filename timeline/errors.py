"""The errors that timeline raises, one class for each thing worth catching.

TimelineError
├── UsageError            the call or the command line asks for something that cannot be
├── RecorderStateError    a recorder was started twice, or stopped without being started
├── BreakdownError        a model cannot be made or run without memory, or not on those inputs
│   └── FollowingError        a script cannot be followed without running it
└── RecordingError        a run directory or a foreign file
    ├── NoRecordingError      there is nothing readable at that path
    ├── DamagedRecordingError what is there is not a recording, or too little of one
    ├── NewerFormatError      it was written by a newer version of timeline
    └── RecordingExistsError  recording there would overwrite one

A message says what was wrong, what was found and what to do, in one sentence.
"""

from __future__ import annotations


class TimelineError(Exception):
    """The root of every error that timeline raises on purpose."""


class UsageError(TimelineError):
    """The caller asked for something that cannot be, such as an interval of zero."""


class RecorderStateError(TimelineError):
    """A recorder was started twice, or stopped without having been started."""


class BreakdownError(TimelineError):
    """The theory of a model cannot be told: it does not build, or does not run on the inputs."""


class FollowingError(BreakdownError):
    """A script cannot be followed without running it, or asks nothing of a GPU."""


class RecordingError(TimelineError):
    """A recording cannot be read or written."""


class NoRecordingError(RecordingError):
    """There is no recording at the path, or it may not be read."""


class DamagedRecordingError(RecordingError):
    """What is at the path is not a recording, or not enough of one to read."""


class NewerFormatError(RecordingError):
    """The recording's format is newer than this version of timeline knows."""


class RecordingExistsError(RecordingError):
    """A recording would overwrite what is already there."""
