"""Talk to the Hub: fetch one file, push one folder, say in one line what went wrong."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from seerkit.hub.errors import HubError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each new attempt after an answer such as 503."""
BUSY = (408, 429, 500, 502, 503, 504)
TIMEOUT = 10.0


def is_repo(name: str) -> bool:
    """Say whether ``name`` has the form ``user/repo``.

    Example:
        >>> is_repo("user/repo"), is_repo("./runs/x"), is_repo("seer_calvin"), is_repo("user/../x")
        (True, False, False, False)
    """
    return REPO.fullmatch(name) is not None and ".." not in name


def hub(endpoint: str | None = None, token: str | None = None) -> HfApi:
    """Return the Hub's interface at ``endpoint``, at ``$HF_ENDPOINT``, or at the public Hub."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint or os.environ.get("HF_ENDPOINT"), token=token, library_name="seerkit")


def cached(repo: str, file: str, *, revision: str | None = None) -> Path | None:
    """Return the file if it was fetched before; never goes to the network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def fetch(
    repo: str,
    file: str,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    limit: int | None = None,
) -> tuple[Path, str | None]:
    """Fetch one file of a repository into the Hub's cache, unless it is there.

    Without a network, what the cache holds is used.

    Args:
        repo: ``user/repo``.
        file: its name in the repository.
        revision: branch, tag or commit; ``main`` by default.
        endpoint: address of the Hub.
        token: as of ``hf auth login`` by default.
        limit: bytes; a larger file is not fetched.

    Returns:
        Where the file lies and the commit it is of.

    Raises:
        HubError: if there is no such repository, revision or file, or no way to it, or the file is too large.
    """
    from huggingface_hub import hf_hub_url

    api, what = hub(endpoint, token), f"{repo}: {file}" + (f" at {revision}" if revision else "")
    url = hf_hub_url(repo, file, revision=revision, endpoint=api.endpoint)
    try:
        head = patiently(lambda: api.get_hf_file_metadata(url=url, token=token, timeout=TIMEOUT))
    except Exception as error:
        kept = cached(repo, file, revision=revision) if _no_way(error) else None
        if kept is None or (limit is not None and kept.stat().st_size > limit):
            raise HubError(explain(what, error, api.endpoint)) from error
        return kept, kept.parent.name
    if limit is not None and (head.size or 0) > limit:
        raise HubError(f"{what} has {head.size:,} bytes, more than the {limit:,} it may have; it was not fetched")
    try:
        path = patiently(lambda: api.hf_hub_download(repo, file, revision=revision, token=token, etag_timeout=TIMEOUT))
    except Exception as error:
        raise HubError(explain(what, error, api.endpoint)) from error
    return Path(path), head.commit_hash or revision


def patiently(call: Callable[[], T]) -> T:
    """Call; after an answer that asks for patience (503 and its like) try again a few times, waiting longer each."""
    for pause in PAUSES:
        try:
            return call()
        except Exception as error:
            if _status(error) not in BUSY:
                raise
        time.sleep(pause)
    return call()


def explain(what: str, error: Exception, endpoint: str) -> str:
    """Say in one line what went wrong with ``what`` and what to do about it."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"{what}: the repository is gated; ask for access on its page, then log in or pass token=..."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{what}: no such repository at {endpoint}, or it is private and the token may not see it"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{what}: the repository has no such revision; give a branch, a tag or a commit"
    if isinstance(error, errors.EntryNotFoundError) and _status(error) is not None:
        return f"{what}: the repository has no such file"
    status = _status(error)
    if status in (401, 403):
        return f"{what}: {endpoint} refused the token ({status}); log in with `hf auth login` or pass token=..."
    if status in BUSY:
        return f"{what}: {endpoint} is busy ({status}) and stayed so over {len(PAUSES) + 1} attempts; try later"
    if status is not None:
        return f"{what}: {endpoint} answered {status}: {_line(error)}"
    if _no_way(error):
        return f"{what}: no connection to {endpoint} ({_line(error)})"
    return f"{what}: {type(error).__name__}: {_line(error)}"


def _status(error: Exception) -> int | None:
    from huggingface_hub.errors import HfHubHTTPError

    response: Any = error.response if isinstance(error, HfHubHTTPError) else None
    return None if response is None else response.status_code


def _no_way(error: Exception) -> bool:
    """Say whether no server answered; the name covers the several libraries huggingface_hub has used."""
    if _status(error) is not None:
        return False
    return isinstance(error, OSError) or any(base.__name__ == "TransportError" for base in type(error).__mro__)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
