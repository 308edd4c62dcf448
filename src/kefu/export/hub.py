"""Pushes an export to a model hub, with its card. The network is touched only here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import KefuError, SettingsError
from .placing import MANIFEST


class HubError(KefuError):
    """The hub refused, or could not be reached."""


def push(folder: Path, options: Mapping[str, Any], say: Callable[[str], None]) -> tuple[str, ...]:
    """Uploads `folder` in one commit to the model repository `repo`, made if it is not there.

    Private unless `private=False` is said: an FAQ is its owner's. Raises HubError.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    repo = check(options)
    api = HfApi(endpoint=options.get("endpoint"), token=options.get("token"))
    say(f"pushing to {repo}")
    try:
        api.create_repo(repo, private=options.get("private", True), exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            ignore_patterns=[MANIFEST],
            commit_message="A run exported by kefu",
        )
    except LocalTokenNotFoundError:
        raise HubError("You are not logged in to the hub.", "Do so: `hf auth login`.") from None
    except HFValidationError as error:
        raise SettingsError(
            f"{repo!r} cannot name a repository: {error}.", "Write OWNER/NAME."
        ) from None
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        fix = (
            "Log in with a token that may write there: `hf auth login`."
            if code in {401, 403}
            else "Try again later."
        )
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise HubError(f"The hub refused {repo}: {first}.", fix) from None
    except (_transport(HfHubHTTPError), OSError) as error:
        raise HubError(
            f"The hub cannot be reached: {error}.", "Check the network and try again."
        ) from None
    return (f"Pushed to {done.repo_url}.",)


def _transport(hubs: type[Exception]) -> type[Exception]:
    """What the hub client's HTTP library raises when there is no answer at all.

    Which library that is changes with the client's version; its error is a parent of the hub's.
    """
    return next((c for c in hubs.__mro__ if c.__name__ == "HTTPError"), OSError)


def check(options: Mapping[str, Any]) -> str:
    """The repository that was named. Raises SettingsError."""
    repo = str(options.get("repo") or "")
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise SettingsError(
            "The form hub needs the name of a repository.", "Give `repo`, as OWNER/NAME."
        )
    return repo
