from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from entityclip.errors import ConfigError
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.schemas import Approval, PromotionDecision, Release
from flows.approve import ask, expire, settle
from flows.workspace.registry import assign_champion, champion
from flows.workspace.repository import Repository
from flows.workspace.versions import release, version_data

Decided = Callable[..., PromotionDecision]


@pytest.fixture
def waiting(
    workspace: Layout,
    accepted: Callable[[str], DataLayout],
    checkpoint: Callable[[str], CheckpointLayout],
    decided: Decided,
) -> Release:
    """A release that won against nobody and waits for a person."""
    data = version_data(workspace, accepted("first"), message="Data").data_hash
    made = release(workspace, checkpoint=checkpoint("a"), reports={}, decision=decided("a", data))
    ask(workspace, made, hours=1)
    return made


def test_a_question_is_asked_once_and_kept(workspace: Layout, waiting: Release) -> None:
    asked = ask(workspace, waiting, hours=5)
    assert asked.until - asked.asked == timedelta(hours=1)
    assert asked.approved is None
    assert Repository(workspace.root).git("status", "--porcelain") == ""
    assert champion(workspace) is None


def test_a_no_keeps_the_champion_for_ever(workspace: Layout, waiting: Release) -> None:
    settle(workspace, waiting.version, approve=False, name="Ada", comment="not before Friday")
    assert champion(workspace) is None
    with pytest.raises(ConfigError, match=r"v1\.0\.0 was answered by Ada: not before Friday"):
        settle(workspace, waiting.version, approve=True, name="Bob", comment="")


def test_silence_keeps_the_champion(workspace: Layout, waiting: Release) -> None:
    past = datetime.now(UTC) - timedelta(hours=2)
    Approval(version=waiting.version, asked=past, until=past + timedelta(hours=1)).write(
        workspace.approval(waiting.version)
    )
    with pytest.raises(ConfigError, match="the time ended"):
        settle(workspace, waiting.version, approve=True, name="Ada", comment="")
    kept = Approval.read(workspace.approval(waiting.version))
    assert kept is not None
    assert (kept.approved, kept.name) == (False, "nobody")
    assert expire(workspace) == ()
    assert champion(workspace) is None


def test_a_yes_is_refused_where_another_champion_came_in_between(
    workspace: Layout, waiting: Release, checkpoint: Callable[[str], CheckpointLayout], decided: Decided
) -> None:
    later = release(workspace, checkpoint=checkpoint("b"), reports={}, decision=decided("b", waiting.data_hash))
    assign_champion(workspace, later.version, message="")
    with pytest.raises(ConfigError, match=r"judged against None, but v1\.1\.0 is the champion"):
        settle(workspace, waiting.version, approve=True, name="Ada", comment="")
    assert champion(workspace) == later


def test_nobody_is_asked_twice_about_what_nobody_asked(workspace: Layout) -> None:
    with pytest.raises(ConfigError, match="was never asked about"):
        settle(workspace, "v3.0.0", approve=True, name="Ada", comment="")
