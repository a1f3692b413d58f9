"""Signatures of Git tags, for tags that GTO makes, which signs none."""

from __future__ import annotations

import re

from entityclip.errors import WorkspaceError
from flows.workspace.repository import Repository

_SIGNATURE = re.compile(r"^-----BEGIN [A-Z ]*SIGN", re.MULTILINE)
"""Begins the signature at the end of a tag, of OpenPGP and of SSH."""


def sign_tag(repository: Repository, tag: str) -> None:
    """Sign an annotated tag where the user's Git signs tags (``tag.gpgSign``) and it has no signature yet.

    Git makes the tag again with its message and time.

    Raises:
        WorkspaceError: Git cannot sign; the tag stays as it was, and the next call tries again.
    """
    if repository.git_or_none("config", "--type=bool", "--get", "tag.gpgSign") != "true":
        return
    text = repository.git("cat-file", "tag", tag)
    if _SIGNATURE.search(text):
        return
    wanted = "--format=%(*objectname) %(taggerdate:unix)"
    commit, seconds = repository.git("for-each-ref", wanted, f"refs/tags/{tag}").split(" ")
    command = ("tag", "--sign", "--force", "--cleanup=verbatim", "--file=-", tag, commit)
    given = text.partition("\n\n")[2] + "\n"
    repository.git(*command, given=given, variables={"GIT_COMMITTER_DATE": f"{seconds} +0000"})
    if not _SIGNATURE.search(repository.git("cat-file", "tag", tag)):  # Git ends with 0 where an SSH key is missing
        raise WorkspaceError(
            f"{repository.root}: tag.gpgSign is set and Git cannot sign {tag}; see what `git tag --sign test` prints "
            "here, set user.signingkey and gpg.format, then run the same command again"
        )


def signable(message: str) -> str:
    """The message without a line that Git could take for a signature."""
    return message.replace("-----BEGIN", "- BEGIN")


def without_signature(message: str) -> str:
    """What stands before the signature."""
    return _SIGNATURE.split(message)[0]
