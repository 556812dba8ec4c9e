"""Download a model folder from the Hugging Face Hub, and upload one.

Only the files of a model folder and sample images are transferred; none of them is executed or unpickled. The address
of the hub is `HF_ENDPOINT`, the token `HF_TOKEN` or that of `hf auth login`, as for all programs of `huggingface_hub`.
"""

import json
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.errors import ConfigError, HubError, listed, printable
from diptych.settings.validate import LARGEST_NETWORKS
from diptych.system.atomic_files import atomic_write, make_folder, write_text
from diptych.system.safe_parse import LARGEST_HEADER, LARGEST_TEXT

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

MAX_BYTES = {
    "config.json": LARGEST_TEXT,
    "model.safetensors": LARGEST_NETWORKS + LARGEST_HEADER,
    "README.md": 2**20,
}  # of each file that is downloaded or uploaded
REQUIRED = ["config.json", "model.safetensors"]
MAX_IMAGE_BYTES = 2**20
IMAGES = "images"  # folder of the sample images in a repository
IMAGE_NAME = re.compile(rf"{IMAGES}/\d+\.(png|jpg)")
TIMEOUT = 10.0  # seconds until an answer begins
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}"
HUB_ID = re.compile(rf"(hf:/{{1,2}})?(?P<repo>{NAME}/{NAME})(@(?P<revision>[A-Za-z0-9][A-Za-z0-9_./+-]{{0,199}}))?")
COMMIT = re.compile("[0-9a-f]{40}")
LOG_IN = " (`hf auth login`, or set HF_TOKEN)"


@dataclass(frozen=True)
class HubId:
    """A model repository on the hub; `revision` is a branch, tag or commit hash, None the main branch."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def parse_hub_id(text: str) -> HubId | None:
    """Return the repository of `user/name`, `user/name@revision` or `hf://user/name`; None for other texts.

    `hf:/user/name` is what `pathlib` makes of the last one.
    """
    match = HUB_ID.fullmatch(text)
    if match is None or ".." in text or "--" in match["repo"]:
        return None
    return HubId(match["repo"], match["revision"])


def hub_id_of(source: str) -> HubId | None:
    """Return the repository that a model argument names; None if it is a path: its first folder exists here."""
    if not source.startswith("hf:/") and (Path(source).exists() or Path(source).parent.exists()):
        return None
    return parse_hub_id(source)


def download(source: HubId) -> Path:
    """Return the model folder of a repository, downloaded into the cache of `huggingface_hub`; print its commit.

    A commit that is in the cache needs no connection. Without a connection, the cached copy of a branch or tag is used.
    Raises HubError.
    """
    from huggingface_hub import HfApi, constants

    if source.revision and COMMIT.fullmatch(source.revision) and (folder := cached(source)):
        return _announce(source, folder, "from the cache")
    api = HfApi(library_name="diptych")
    try:
        with explained(source):
            info = api.model_info(source.repo, revision=source.revision, files_metadata=True, timeout=TIMEOUT)
    except HubError as error:
        if not error.unreachable:
            raise
        if not (folder := cached(source)):
            raise HubError(f"{error}; no copy of it is in the cache, {constants.HF_HUB_CACHE}") from error
        if not constants.HF_HUB_OFFLINE:
            warnings.warn(f"{error}; using the cached copy", stacklevel=4)
        return _announce(source, folder, "from the cache")
    _check_files(source, info)
    return _announce(source, _fetch(source, str(info.sha)), "from the hub")


def _fetch(source: HubId, commit: str) -> Path:
    """Return the folder of a commit, and store in the cache that the requested revision was this commit."""
    from huggingface_hub import snapshot_download

    with explained(source):
        folder = Path(
            snapshot_download(source.repo, revision=commit, allow_patterns=list(MAX_BYTES), library_name="diptych")
        )
    revision = source.revision or "main"
    if revision != commit:
        with suppress(OSError):  # a cache that cannot be written; only a later use without a connection needs it
            write_text(folder.parents[1] / "refs" / revision, commit)
    return folder


def working_copy(source: HubId) -> Path:
    """Return a model folder `user--name@commit` in the current folder, for results. Raises HubError."""
    folder = download(source)
    copy = Path(f"{source.repo.replace('/', '--')}@{folder.name[:12]}")
    try:
        make_folder(copy)
        for name in REQUIRED:
            with atomic_write(copy / name) as part:
                shutil.copyfile(folder / name, part)
    except OSError as error:
        raise HubError(f"{copy}: cannot be written ({error}); change to another folder") from error
    return copy


def cached(source: HubId) -> Path | None:
    """Return the complete cached copy of a revision; None if there is none."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(source.repo, revision=source.revision, local_files_only=True, allow_patterns=REQUIRED)
        )
    except (OSError, ValueError):
        return None
    return folder if all((folder / name).is_file() for name in REQUIRED) else None


def _announce(source: HubId, folder: Path, origin: str) -> Path:
    """Print the commit, by which the same model can be loaded again, and return the folder."""
    print(f"{source}: loaded {source.repo}@{folder.name} {origin}", file=sys.stderr)
    return folder


def _check_files(source: HubId, info: "ModelInfo") -> None:
    """Raise HubError if the repository is no model of Diptych, or a file is larger than any model is."""
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
    if missing := [name for name in REQUIRED if name not in sizes]:
        raise HubError(f"{source}: not a model of Diptych: the repository has no {' and no '.join(missing)}")
    for name, largest in MAX_BYTES.items():
        size = sizes.get(name, 0)
        if size is None or size > largest:
            raise HubError(f"{source}: {name} has {size or 'unknown'} bytes; at most {largest:,} are downloaded")


@contextmanager
def explained(source: HubId) -> Iterator[None]:
    """Raise the errors of the hub and its client as HubError, with the address and what to do."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:  # the client raises errors of several libraries
        cause = error.__cause__ if isinstance(error, RuntimeError) else None  # by which it wraps those of an upload
        message, unreachable = _explain(source, cause if isinstance(cause, Exception) else error)
        raise HubError(message, unreachable) from error


def _explain(source: HubId, error: Exception) -> tuple[str, bool]:
    """Return the message for an error of the client, and whether the hub could not be reached."""
    from huggingface_hub import constants, errors, get_token

    where, repo = constants.ENDPOINT, source.repo
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{source}: HF_HUB_OFFLINE is set and {where} is not asked", True
    if isinstance(error, errors.GatedRepoError):
        return f"{source}: gated: request access at {where}/{repo}, then log in{LOG_IN}", False
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{source}: {repo} has no such branch, tag or commit{_revisions(repo)}", False
    if isinstance(error, errors.RepositoryNotFoundError):
        if get_token():
            return f"{source}: {where} has no such model repository, or your token may not read it", False
        return f"{source}: {where} has no such public model repository; for a private one log in{LOG_IN}", False
    if not isinstance(error, errors.HfHubHTTPError):
        reason = printable(" ".join(str(error).split())[:300]) or type(error).__name__
        if isinstance(error, json.JSONDecodeError):
            return f"{source}: {where} does not answer as a hub ({reason}): check HF_ENDPOINT and the proxy", True
        if isinstance(error, ValueError):  # the client refuses a name or a file
            return f"{source}: {reason}", False
        return f"{source}: {where} cannot be reached ({reason})", True
    status = error.response.status_code if error.response is not None else 0
    answer = printable(str(error.server_message or "").strip()[:300]) or f"status {status}"
    if status == 401:
        return f"{source}: {where} does not accept the token ({answer}): log in again{LOG_IN}", False
    if status == 403:
        return f"{source}: {where} forbids this ({answer}): the token needs write access to {repo}", False
    return f"{source}: {where} answers: {answer}", status in (408, 429) or status >= 500


def _revisions(repo: str) -> str:
    """Return the branches and tags of a repository to end a message with; `` if they cannot be listed."""
    from huggingface_hub import HfApi

    with suppress(Exception):  # it only adds to another error
        refs = HfApi(library_name="diptych").list_repo_refs(repo)
        names = [printable(ref.name[:80]) for ref in (*refs.branches, *refs.tags)]
        return f"; it has {listed(names)}" if names else ""
    return ""


def upload(folder: Path, target: HubId, private: bool = False, message: str = "Model of Diptych") -> str:
    """Upload a model folder in one commit and return the commit hash; sample images of earlier commits are replaced.

    A new repository is created, and a new branch if `target` has a revision. Raises HubError before anything is
    uploaded if `private` is requested of a repository that is public.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, get_token

    files = _files_to_upload(folder)
    api = HfApi(library_name="diptych")
    if not get_token():
        raise HubError(f"{target}: uploading needs a token with write access: log in{LOG_IN}")
    with explained(target):
        api.create_repo(target.repo, private=private or None, exist_ok=True)
        if private and not api.model_info(target.repo, timeout=TIMEOUT).private:
            raise HubError(
                f"{target.repo} exists and is public, so nothing was uploaded: make it private in its settings, "
                f"choose another name, or leave out --private"
            )
        if target.revision:
            api.create_branch(target.repo, branch=target.revision, exist_ok=True)
        present = api.model_info(target.repo, revision=target.revision, timeout=TIMEOUT).siblings or []
        former = [each.rfilename for each in present if IMAGE_NAME.fullmatch(each.rfilename)]
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *(CommitOperationDelete(path_in_repo=name) for name in former if name not in files),
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()),
        ]
        commit = api.create_commit(target.repo, operations, commit_message=message, revision=target.revision)
    return str(commit.oid)


def _files_to_upload(folder: Path) -> dict[str, Path]:
    """Return the files of a model folder and its sample images by name in the repository. ConfigError if too large."""
    files = {name: folder / name for name in MAX_BYTES if (folder / name).is_file()}
    images = [path for path in sorted((folder / IMAGES).glob("*")) if path.suffix in (".png", ".jpg")]
    files |= {f"{IMAGES}/{path.name}": path for path in images}
    for name, path in files.items():
        if (size := path.stat().st_size) > (largest := MAX_BYTES.get(name, MAX_IMAGE_BYTES)):
            raise ConfigError(f"{path}: {size:,} bytes, more than the {largest:,} that are uploaded")
    return files
