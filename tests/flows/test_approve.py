from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from entityclip.errors import ConfigError
from entityclip.paths import CheckpointLayout, DataLayout, Layout
from entityclip.schemas import Approval, PromotionDecision, Release
from flows.approve import expire, request_approval, resolve
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
    """A first release that waits for approval."""
    data = version_data(workspace, accepted("first"), message="Data").data_hash
    made = release(workspace, checkpoint=checkpoint("a"), reports={}, decision=decided("a", data))
    request_approval(workspace, made, hours=1)
    return made


def test_approval_is_requested_once_and_kept(workspace: Layout, waiting: Release) -> None:
    pending = request_approval(workspace, waiting, hours=5)
    assert pending.until - pending.requested == timedelta(hours=1)
    assert pending.approved is None
    assert Repository(workspace.root).git("status", "--porcelain") == ""
    assert champion(workspace) is None


def test_a_declined_release_stays_declined(workspace: Layout, waiting: Release) -> None:
    resolve(workspace, waiting.version, approve=False, name="Ada", comment="not before Friday")
    assert champion(workspace) is None
    with pytest.raises(ConfigError, match=r"v1\.0\.0 was answered by Ada: not before Friday"):
        resolve(workspace, waiting.version, approve=True, name="Bob", comment="")


def test_an_expired_request_keeps_the_champion(workspace: Layout, waiting: Release) -> None:
    past = datetime.now(UTC) - timedelta(hours=2)
    Approval(version=waiting.version, requested=past, until=past + timedelta(hours=1)).write(
        workspace.approval(waiting.version)
    )
    with pytest.raises(ConfigError, match="the request expired"):
        resolve(workspace, waiting.version, approve=True, name="Ada", comment="")
    kept = Approval.read(workspace.approval(waiting.version))
    assert kept is not None
    assert (kept.approved, kept.name) == (False, "expiry")
    assert expire(workspace) == ()
    assert champion(workspace) is None


def test_approval_is_refused_if_the_champion_has_changed(
    workspace: Layout, waiting: Release, checkpoint: Callable[[str], CheckpointLayout], decided: Decided
) -> None:
    later = release(workspace, checkpoint=checkpoint("b"), reports={}, decision=decided("b", waiting.data_hash))
    assign_champion(workspace, later.version, message="")
    with pytest.raises(ConfigError, match=r"compared with None, but the champion is v1\.1\.0"):
        resolve(workspace, waiting.version, approve=True, name="Ada", comment="")
    assert champion(workspace) == later


def test_an_answer_without_a_request_is_refused(workspace: Layout) -> None:
    with pytest.raises(ConfigError, match="no approval was requested"):
        resolve(workspace, "v3.0.0", approve=True, name="Ada", comment="")
