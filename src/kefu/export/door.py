"""export(): one finished run in one of six forms, made whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import RunError, SettingsError
from ..workspace import RunFolder
from . import card, hub, placing
from .forms import make
from .source import Source, open_run

if TYPE_CHECKING:
    from .models import LlamaModel

Form = Literal["zip", "adapter", "merged", "gguf", "ollama", "hub"]
FORMS: tuple[Form, ...] = get_args(Form)
OPTIONS: dict[str, frozenset[str]] = {
    "zip": frozenset({"rows"}),
    "adapter": frozenset(),
    "merged": frozenset({"judge"}),
    "gguf": frozenset({"types", "lora", "base", "judge"}),
    "ollama": frozenset({"types", "judge"}),
    "hub": frozenset({"repo", "private", "endpoint", "token", "what"}),
}
"""What each form takes beyond `force`."""

Say = Callable[[str], None]
Gate = Callable[[Path], tuple[str, ...]]
"""Looks at what was made in a folder, and returns what there is to say of it, or raises."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was made: where it is, its files, and what the person should know of it."""

    form: Form
    path: Path
    files: tuple[placing.File, ...]
    notes: tuple[str, ...] = ()


def export(
    run: RunFolder,
    form: Form,
    to: Path,
    *,
    say: Say = lambda message: None,
    force: bool = False,
    gate: Gate | None = None,
    **options: Any,
) -> Exported:
    """Makes `form` of a finished run at `to` (a file for `zip`, else a folder).

    Options by form: zip: `rows` (also the customers' rows, with which kefu can open the run
    elsewhere). merged, gguf, ollama: `judge`, a callable from a folder with a merged model to
    a number, higher is better, that chooses between the original and the dequantised base of
    an NF4 run. gguf, ollama: `types`, names of number formats (`f16`, `q8_0`, `q4_k_m`). gguf:
    `lora=True` for the adapter alone, checked on the GGUF file `base`. hub: `repo`, `private`,
    `endpoint`, `token`, `what` (the form that is pushed); `to` keeps a copy of what was pushed.
    `gate` sees the export before it is put in its place or pushed; what it says goes on the card.

    Raises RunError when the run is not finished, or the place is taken (and `force` is not
    set), full or forbidden; BaseError when the base is needed and not here; SettingsError for
    an option that the form does not know; GateError when the export is known to be wrong.
    """
    if form not in FORMS:
        raise SettingsError(f"There is no export form {form!r}.", f"Known: {', '.join(FORMS)}.")
    unknown = sorted(set(options) - OPTIONS[form])
    if unknown:
        known = ", ".join(sorted(OPTIONS[form])) or "none but `force`"
        raise SettingsError(
            f"The form {form} has no option `{unknown[0]}`.", f"Its options: {known}."
        )
    to = Path(to).expanduser()
    placing.check_free(to, force)
    source = open_run(run)
    with placing.staged(to, force) as work:
        inside = work / to.name
        inside.mkdir()
        notes = make(source, form, inside, say, options)
        if gate is not None:
            notes = (*notes, *card.add(inside, gate(inside)))
        if form == "hub":
            notes = (*notes, *hub.push(inside, options, say))
        files = placing.write_manifest(inside, form, source.name, notes)
        if form == "zip":
            made = work / ".zip"
            placing.pack(inside, made, _top(source))
            made.chmod(0o644)
            placing.place(made, to, force)
            files = (placing.fingerprint(to, to.name),)
        else:
            placing.place(inside, to, force)
    return Exported(form, to, files, notes)


def answering(
    run: RunFolder, file: Path, lora: Path | None = None
) -> AbstractContextManager[LlamaModel]:
    """An export of `run` in llama.cpp, as the bot asks a model: a GGUF file, or a GGUF LoRA on a
    GGUF file of the base. Raises GateError when it is another run's, or is refused."""
    from .models import answering as work  # torch and gguf, which the others do without

    return work(run, file, lora)


def _top(source: Source) -> str:
    if not source.name.strip("."):
        raise RunError("The run has no name.", "Rename its folder.")
    return source.name
