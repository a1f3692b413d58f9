"""What is seen when in a video: tags of frames, joined into intervals; a table and subtitles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from entityclip.annotation.annotate import CHUNK
from entityclip.annotation.tag_files import PredictorTagger
from entityclip.errors import ConfigError, SourceError
from entityclip.paths import AnnotationLayout
from entityclip.schemas import Tag
from entityclip.storage import atomic_write, csv_file

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})

GAP = 1
"""Frames without its tag that do not end an interval: a hand in front of a thing, a blurred frame."""


@dataclass(frozen=True)
class Interval:
    """One entity, seen without a pause."""

    entity_id: str
    entity: str
    begin: float
    """Seconds from the start of the video."""
    end: float
    confidence: float
    """Mean over its frames."""


def frames(path: Path, *, every: float) -> Iterator[tuple[float, Image.Image]]:
    """One upright frame in each ``every`` seconds, with its time in seconds.

    Raises:
        ConfigError: PyAV is not installed.
        SourceError: The file is missing, or no video that FFmpeg reads.
    """
    try:
        import av
    except ImportError:
        raise ConfigError("videos need PyAV; install it: pip install 'entityclip[video]'") from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise SourceError(f"{path}: the file has no video")
            due = 0.0
            for frame in container.decode(video=0):
                if frame.time is not None and frame.time + 1e-6 >= due:
                    yield frame.time, frame.to_image().rotate(frame.rotation, expand=True)
                    due = frame.time + every
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path}: not a video that can be read: {error}") from None


def intervals_of(path: Path, tagger: PredictorTagger, *, every: float = 0.5, progress: bool = False) -> list[Interval]:
    """When each entity is seen, by begin: the sure tags of frames, joined.

    Args:
        path: The video.
        tagger: What tags the frames.
        every: Seconds between two frames; begin and end are as exact as that.
        progress: Show a bar on standard error.

    Raises:
        ConfigError: PyAV is not installed, or ``every`` is not positive.
        SourceError: The file is no video.
    """
    if every <= 0:
        raise ConfigError(f"every is {every:g}; expected a number of seconds above 0")
    times: list[float] = []
    found: list[Tag | None] = []
    waiting: list[np.ndarray] = []

    def tag() -> None:
        found.extend(next((t for t in tags if t.above_threshold), None) for tags in tagger.tags(waiting))
        waiting.clear()

    for time, picture in tqdm(frames(path, every=every), unit="frame", disable=not progress):
        times.append(time)
        waiting.append(tagger.square(picture))
        if len(waiting) == CHUNK:
            tag()
    if waiting:
        tag()
    return joined(times, found, every=every)


def joined(times: Sequence[float], tags: Sequence[Tag | None], *, every: float) -> list[Interval]:
    """Frames with the same sure tag as intervals, where at most ``GAP`` frames between them have another or none.

    An interval ends when the next frame would have been taken.
    """
    seen: dict[str, list[int]] = {}
    for number, tag in enumerate(tags):
        if tag is not None:
            seen.setdefault(tag.entity_id, []).append(number)
    found = [
        _interval([(times[n], tag) for n in run if (tag := tags[n]) is not None], every=every)
        for numbers in seen.values()
        for run in _runs(numbers)
    ]
    return sorted(found, key=lambda interval: (interval.begin, interval.end, interval.entity_id))


def _runs(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Ascending numbers, cut where more than ``GAP`` are missing."""
    run: list[int] = []
    for number in numbers:
        if run and number - run[-1] > GAP + 1:
            yield run
            run = []
        run.append(number)
    if run:
        yield run


def _interval(frames: Sequence[tuple[float, Tag]], *, every: float) -> Interval:
    (begin, tag), (last, _) = frames[0], frames[-1]
    confidence = sum(seen.confidence for _, seen in frames) / len(frames)
    return Interval(tag.entity_id, tag.entity, begin, last + every, confidence)


def write_timeline(intervals: Sequence[Interval], layout: AnnotationLayout) -> None:
    """Write ``timeline.csv`` and ``timeline.vtt``, subtitles in WebVTT.

    Raises:
        OSError: The folder cannot be written.
    """
    with csv_file(layout.timeline, ("begin", "end", "entity", "entity_id", "confidence"), encoding="utf-8-sig") as rows:
        for one in intervals:
            rows.write([round(one.begin, 3), round(one.end, 3), one.entity, one.entity_id, round(one.confidence, 4)])
    cues = (f"\n{_clock(one.begin)} --> {_clock(one.end)}\n{_cue_text(one.entity)}\n" for one in intervals)
    atomic_write(layout.subtitles, "WEBVTT\n" + "".join(cues))


def _clock(seconds: float) -> str:
    whole = round(1000 * seconds)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"


def _cue_text(text: str) -> str:
    """WebVTT has markup; a line with an arrow, or an empty one, would end the cue."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
