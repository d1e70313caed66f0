"""What a policy can do with folders and the Hub; a mixin, so that `Policy` is about acting and learning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seerkit.hub.errors import CheckpointError

if TYPE_CHECKING:
    from seerkit.hub.frozen import Origin
    from seerkit.policy import Policy


class Shareable:
    """Save, load, push and pull a policy."""

    origins: dict[str, Origin]
    """Whence frozen modules got their weights, by their name in the policy."""
    checkpoint: Path | None
    """The folder the policy was loaded from."""
    begun: str | None = None
    """The other policy whose weights it was filled with, as its recipe's ``init_from`` says."""

    def save_pretrained(self, path: str | Path, *, frozen: bool | None = None) -> Path:
        """Write ``recipe.yaml``, ``model.safetensors`` and ``README.md`` into the folder ``path``, all or nothing.

        Args:
            path: the folder; replaced if it is empty or holds a checkpoint and nothing else.
            frozen: whether to write frozen encoders, too. By default those are left out that came from a place
                where everybody can fetch them; loading fetches them again and compares their fingerprint.

        Raises:
            CheckpointError: with ``frozen=False``, if a frozen encoder could not be had again.
            FileExistsError: if replacing the folder would lose something else.
        """
        from seerkit.hub.checkpoint import save

        return save(cast("Policy", self), Path(path), frozen=frozen)

    def push_to_hub(
        self,
        repo: str,
        *,
        tag: str | None = None,
        private: bool = False,
        token: str | None = None,
        endpoint: str | None = None,
        include_frozen: bool = False,
        report: str | Path | None = None,
    ) -> str:
        """Upload recipe, weights and card to the Hub in one commit; return the address.

        Args:
            repo: ``user/repo``; created if need be.
            tag: name of this version; it must be new.
            private: if the repository is created, whether only its owner sees it.
            token: as of ``hf auth login`` by default.
            endpoint: address of the Hub; ``$HF_ENDPOINT`` or the public one by default.
            include_frozen: whether to upload frozen encoders, too.
            report: a ``report.json`` about these weights, or its folder; its results go into the card. If the policy
                was loaded from a run's checkpoint, the run's report is found by itself.

        Raises:
            CheckpointError: if an encoder came from a path and is not included, or the report is of other weights.
            HubError: if the Hub refuses or cannot be reached.
        """
        from seerkit.hub.push import push

        way: dict[str, Any] = {"token": token, "endpoint": endpoint}
        what: dict[str, Any] = {"include_frozen": include_frozen, "report": report}
        return push(cast("Policy", self), repo, tag=tag, private=private, **what, **way)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *overrides: str,
        revision: str | None = None,
        token: str | None = None,
        endpoint: str | None = None,
        trust_remote_code: bool = False,
    ) -> Policy:
        """Build a policy from a folder that `save_pretrained` wrote, or from the Hub; loading is strict.

        Args:
            path: the folder, or ``user/repo``.
            overrides: ``some.key=value`` changes to its recipe, such as ``train.lr=1e-4``; the weights must still fit.
            revision: branch, tag or commit on the Hub.
            token: as of ``hf auth login`` by default.
            endpoint: address of the Hub; ``$HF_ENDPOINT`` or the public one by default.
            trust_remote_code: whether a recipe from the Hub may name other classes than seerkit's.

        Raises:
            CheckpointError: if something is missing, damaged, does not fit, or is not to be trusted.
            HubError: if there is no such repository, revision or file, or no way to it.
        """
        from seerkit.hub.checkpoint import load
        from seerkit.hub.client import is_repo
        from seerkit.hub.pull import pull

        way: dict[str, Any] = {"token": token, "endpoint": endpoint}
        if not Path(path).is_dir() and is_repo(str(path)):
            trusted: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
            return pull(str(path), overrides=overrides, **trusted, **way)
        if revision is not None:
            raise CheckpointError(f"revision={revision!r} is of a repository on the Hub; {str(path)!r} is none")
        return load(Path(path), *overrides, **way)
