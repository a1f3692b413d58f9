"""Batches: what arrives together is computed together, and everybody gets their own."""

import io
import threading

import numpy as np
import pytest
from tiny import tiny_picture

from bentos.runtime.batching import BatchedModel, Batcher, Decoder
from entityclip.data.images import decode


class Squares:
    """Squares numbers once the gate is open, and remembers the batches. Refuses 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered, self.gate = threading.Event(), threading.Event()

    def __call__(self, numbers: list[int]) -> np.ndarray:
        self.batches.append(numbers)
        self.entered.set()
        assert self.gate.wait(10)
        if 13 in numbers:
            raise ValueError("13")
        return np.array([[n * n] for n in numbers]).reshape(-1, 1)


def ask_together(squares: Squares, requests: list[list[int]], *, most: int = 64) -> list[object]:
    """Every request in a thread of its own; the first is in work, and all others wait, before its batch ends."""
    batcher = Batcher(squares, most=most)
    answers: list[object] = [None] * len(requests)

    def ask(place: int) -> None:
        try:
            answers[place] = batcher(requests[place]).tolist()
        except ValueError as error:
            answers[place] = str(error)

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(requests))]
    threads[0].start()
    assert squares.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(batcher._waiting) < len(requests) - 1:
        assert all(thread.is_alive() for thread in threads)
    squares.gate.set()
    for thread in threads:
        thread.join()
    return answers


def test_what_waits_goes_together_and_everybody_gets_their_own():
    squares = Squares()
    requests = [[n, n + 1] for n in range(10)]
    answers = ask_together(squares, requests, most=8)
    assert answers == [[[n * n], [(n + 1) ** 2]] for n in range(10)]
    assert len(squares.batches[0]) == 2  # a single request does not wait for others
    assert max(len(batch) for batch in squares.batches) == 8
    assert sum(len(batch) for batch in squares.batches) == 20


def test_one_that_fails_does_not_fail_the_others():
    squares = Squares()
    answers = ask_together(squares, [[1], [2], [13], [3]])
    assert answers == [[[1]], [[4]], "13", [[9]]]


def test_more_than_a_batch_in_one_request_is_computed_too():
    squares = Squares()
    squares.gate.set()
    assert len(Batcher(squares, most=4)(list(range(9)))) == 9


def test_its_thread_ends_with_it():
    batcher = Batcher(lambda numbers: np.zeros((len(numbers), 1)), most=4)
    before = {thread for thread in threading.enumerate() if thread.name.startswith("tower")}
    batcher([1])
    (thread,) = {t for t in threading.enumerate() if t.name.startswith("tower")} - before
    del batcher
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.slow
def test_batched_model_gives_the_models_vectors(predictor):
    model, batched = predictor.model, BatchedModel.of(predictor.model)
    pictures = [tiny_picture("red", 1), tiny_picture("blue", 2)]
    assert batched.embed_images(pictures) == pytest.approx(model.embed_images(pictures), abs=1e-6)
    assert batched.embed_texts(["a", "b"]) == pytest.approx(model.embed_texts(["a", "b"]), abs=1e-6)
    assert batched.embed_texts([]).shape == (0, model.dim)


def test_decoded_square_is_seen_as_the_picture_is(predictor):
    file = io.BytesIO()
    tiny_picture("green", 3).resize((301, 173)).save(file, "PNG")
    square = Decoder(predictor.model, max_concurrency=1)(file.getvalue())
    assert square.size == (32, 32)
    whole = predictor.model.embed_images([decode(file.getvalue())])
    assert np.array_equal(predictor.model.embed_images([square]), whole)
