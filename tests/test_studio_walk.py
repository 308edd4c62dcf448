"""A walk through the studio in a real browser: from a faulty file to a training."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tiny

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
import walk
from kefu import background
from kefu.workspace import Workspace

FAULTY = "question,answer,wordings\n" + "".join(
    f"{q},{a},{'|'.join(w)}\n" for q, a, w in tiny.ROWS[:4]
)


def test_from_a_faulty_file_to_a_training_that_is_stopped_on_a_phone(tmp_path: Path) -> None:
    if walk.chromium() is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    base = tiny.base(tmp_path / "base")
    (tmp_path / "kefu.toml").write_text(f'base = "{base}"\nthorough = "thorough"\n')
    shop, broken = tmp_path / "shop.csv", tmp_path / "broken.xlsx"
    shop.write_text(FAULTY + "怎麼付款？,\n", encoding="utf-8")
    broken.write_bytes(b"PK\x03\x04 cut off")
    with walk.studio(tmp_path) as address, walk.browser("zh-TW", "phone") as page:
        person = walk.Walk(page, address)
        person.upload(broken)  # said plainly, and the page goes on
        person.see(".toast-wrap :text('用不了')")
        page.click(".toast-close")

        person.clicks = 0
        person.upload(shop)
        person.see("#findings .k-stop")
        assert "第 6 列" in person.text("#findings")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= walk.SIZES["phone"][0]  # the table scrolls by itself
        person.click("#table_next")
        person.see(".toast-wrap :text('先改')")  # an empty answer is not passed over
        page.click(".toast-close")
        page.dblclick("#table [data-testid=cell-4-2]")
        page.keyboard.type("可刷卡或付現。")
        page.keyboard.press("Enter")
        person.clicks += 1
        person.click("#table_next")
        person.click("#word_accept")
        person.see("#plan .k-card")
        person.click("#plan_start")
        person.see("#live .k-bar", 120)
        page.click("#train_stop")
        person.see("#train_resume")
        page.goto(address)  # whoever opens the page finds what was trained, and how far
        person.see("#live .k-warn")
        person.see("#train_resume")
        assert "按「繼續」" in person.text("#live")
        assert person.clicks <= 6  # two more to the exam's report, see bench/walk.py
        assert person.elsewhere == [] and person.faults == []
    run = Workspace(tmp_path).run("shop-1")
    assert any(run.steps()) and not run.finished
    assert not background.runs(background.last(Workspace(tmp_path)))
