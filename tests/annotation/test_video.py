"""When a thing is seen in a video, to half a second."""

from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image
from tiny import tiny_data, tiny_model, tiny_picture

from entityclip.annotation.tag_files import PredictorTagger
from entityclip.annotation.video import Interval, frames, intervals_of, joined, write_timeline
from entityclip.errors import ConfigError, SourceError
from entityclip.paths import AnnotationLayout
from entityclip.retrieval.index import EntityIndex, PictureIndex
from entityclip.retrieval.predictor import Predictor
from entityclip.schemas import Mixture, OpenSetRule, OpenSetTarget, Tag

av = pytest.importorskip("av", reason="the extra 'video' is not installed")

SCRIPT = {"red": (5.0, 20.0), "green": (22.5, 40.0), "blue": (40.0, 52.0)}
"""Colour -> from when to when its disc is seen in a minute; nothing else is."""
RATE = 5


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> PredictorTagger:
    """A model that compares photographs alone, and knows a thing by a similarity of at least 0.995."""
    data = tiny_data(tmp_path_factory.mktemp("data"))
    pictures = Mixture(caption=0, explanation=0, images=1)
    mixture = dict.fromkeys(("frequent", "few", "one"), pictures)
    never = Mixture(caption=1, explanation=0, images=0, offset=-9)
    target = OpenSetTarget(precision=0.9, false_accept_rate=0.1, thresholds=dict.fromkeys(mixture, 0.5))
    rule = OpenSetRule(cosine=1000.0, margin=0.0, photographs=0.0, intercept=-995.0, targets=(target,))
    folder = tmp_path_factory.mktemp("model")
    model = tiny_model(folder, thresholds={"0.9": 0.0}, mixture=mixture | {"none": never}, open_set=rule)
    index = PictureIndex.build(model, data)
    return PredictorTagger(Predictor(model, EntityIndex.build(model, data, pictures=index), index))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute in which discs appear and leave."""
    path = tmp_path_factory.mktemp("film") / "shelf.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 40, 36, "yuv444p"
        for number in range(60 * RATE):
            seen = [colour for colour, (begin, end) in SCRIPT.items() if begin <= number / RATE < end]
            picture = tiny_picture(seen[0], number) if seen else Image.new("RGB", (40, 36), "white")
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_intervals_are_right_to_half_a_second(film, tagger):
    found = intervals_of(film, tagger, every=0.4)
    assert [interval.entity for interval in found] == [f"KX-{colour.upper()}" for colour in SCRIPT]
    for interval, (begin, end) in zip(found, SCRIPT.values(), strict=True):
        assert interval.begin == pytest.approx(begin, abs=0.5)
        assert interval.end == pytest.approx(end, abs=0.5)


def test_frames_come_at_the_wanted_times(film):
    times = [time for time, _ in frames(film, every=1.0)]
    assert len(times) == 60
    assert times == pytest.approx(list(range(60)), abs=1 / RATE)


def sure(name: str) -> Tag:
    return Tag(entity_id=name, entity=name, score=1, confidence=0.5, above_threshold=True)


def test_one_missing_frame_does_not_end_an_interval_and_two_do():
    a, b = sure("a"), sure("b")
    tags = [a, None, a, b, a, None, None, a]
    found = joined([float(n) for n in range(8)], tags, every=1.0)
    assert [(interval.entity, interval.begin, interval.end) for interval in found] == [
        ("a", 0, 5),
        ("b", 3, 4),
        ("a", 7, 8),
    ]


def test_a_table_and_subtitles_that_no_name_can_break(tmp_path):
    layout = AnnotationLayout(tmp_path)
    write_timeline([Interval("k", "=やかん<b>-->&", 3661.5, 3662.25, 0.9)], layout)
    assert layout.timeline.read_text(encoding="utf-8-sig").splitlines()[1] == "3661.5,3662.25,'=やかん<b>-->&,k,0.9"
    text = "WEBVTT\n\n01:01:01.500 --> 01:01:02.250\n=やかん&lt;b&gt;--&gt;&amp;\n"
    assert layout.subtitles.read_text(encoding="utf-8") == text


def test_what_is_no_video_is_refused(tmp_path, tagger):
    path = tmp_path / "film.mp4"
    with pytest.raises(SourceError, match=r"film\.mp4: not a video"):
        intervals_of(path, tagger)
    path.write_bytes(b"rubbish" * 50)
    with pytest.raises(SourceError, match=r"film\.mp4: not a video"):
        intervals_of(path, tagger)
    with pytest.raises(ConfigError, match="every is 0; expected"):
        intervals_of(path, tagger, every=0)
