"""Says in one plain sentence what the figures mean, in English and in Traditional Chinese.

Knows counts only. A difference counts as shown when chance alone would bring it in fewer than
5 of 100 exams (paired exact McNemar test).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..records import Candidate, Report
from .significance import mcnemar

Language = Literal["en", "zh-TW"]
SHOWN = 0.05
PREVIOUS = "previous release"
"""The candidate of this name is fine-tuned too, so it is no control of fine-tuning."""


_CONTROLS = {
    "retrieval alone": "只用檢索",
    "retrieval by embeddings": "語意檢索",
    "untuned base": "未訓練的模型",
    "previous release": "上一版",
    "untuned base, rows in its prompt": "未訓練的模型，提示附上題目",
}


def examinee(name: str, language: Language) -> str:
    """A candidate's name; those of the controls are translated, runs are called as they are."""
    return _CONTROLS.get(name, name) if language == "zh-TW" else name


def sentence(report: Report, language: Language = "en") -> str:
    """Whether fine-tuning earned its keep on this FAQ, also when it did not."""
    return earned(report.candidates, language)


def earned(candidates: Sequence[Candidate], language: Language = "en") -> str:
    """The same, from the run (first) and its controls."""
    zh = language == "zh-TW"
    if not candidates or not candidates[0].overall.asked:
        return "沒有考題，因此無從判斷。" if zh else "Nothing was asked, so nothing is shown."
    run, controls = candidates[0], [c for c in candidates[1:] if c.name != PREVIOUS]
    us, of = run.overall.right, run.overall.asked
    if not controls:
        if zh:
            return f"{of} 題答對 {us} 題；沒有對照組，無法判斷微調是否值得。"
        return f"{us} of {of} right; without a control nobody can say whether fine-tuning helped."
    best = max(controls, key=lambda c: (c.overall.right, -c.overall.false_answers))
    them = best.overall.right
    p = mcnemar(best.gained, best.lost)
    luck = _luck(p, language)
    if zh:
        figures = (
            f"答對 {us}／{of} 題，最好的對照組「{examinee(best.name, language)}」答對 {them} 題"
        )
        if p >= SHOWN:
            return f"看不出微調對這份 FAQ 有幫助：{figures}，差距可能只是運氣（{luck}）。"
        if us > them:
            return f"微調對這份 FAQ 值得：{figures}，差距不只是運氣（{luck}）。"
        return f"微調對這份 FAQ 不值得：{figures}，反而較好，而且不只是運氣（{luck}）。"
    figures = f"{us} of {of} right against {them} by the best control, {best.name}"
    if p >= SHOWN:
        return (
            f"Fine-tuning has not been shown to help on this FAQ: {figures}, "
            f"which may be luck ({luck})."
        )
    if us > them:
        return f"Fine-tuning earned its keep on this FAQ: {figures}, more than luck ({luck})."
    return (
        f"Fine-tuning did not earn its keep on this FAQ: {figures}, "
        f"which did better by more than luck ({luck})."
    )


def compared(
    a: str, b: str, right_a: int, right_b: int, asked: int, p: float, language: Language = "en"
) -> str:
    """Which of two runs is better."""
    luck = _luck(p, language)
    if language == "zh-TW":
        if right_a == right_b:
            return f"{b} 和 {a} 一樣好：{asked} 題各答對 {right_b} 題（{luck}）。"
        word = "好" if right_b > right_a else "差"
        sure = "差距不只是運氣" if p < SHOWN else "但差距可能只是運氣"
        figures = f"{asked} 題答對 {right_b} 題，{a} 是 {right_a} 題"
        return f"{b} 比 {a} {word}：{figures}，{sure}（{luck}）。"
    figures = f"{right_b} of {asked} right against {right_a}"
    if right_a == right_b:
        return f"{b} is as good as {a}: {right_b} of {asked} right each ({luck})."
    word = "better" if right_b > right_a else "worse"
    if p < SHOWN:
        return f"{b} is {word} than {a}: {figures}, more than luck ({luck})."
    return f"{b} looks {word} than {a}: {figures}, but that may be luck ({luck})."


def _luck(p: float, language: Language) -> str:
    value = "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
    return f"McNemar 檢定 {value}" if language == "zh-TW" else f"McNemar {value}"
