"""A question about another year than the FAQ's row is not answered from that row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from kefu.bot import Bot
from kefu.bot.calibration import Calibration
from kefu.bot.years import of_another_year
from kefu.records import Mode
from kefu.train import train


@pytest.mark.parametrize(
    ("asked", "rows", "other"),
    [
        ("請問107年怎麼領垃圾袋抵價券？", ["106年領取垃圾袋抵價券的資格為何？"], True),
        ("民國106年的資格", ["2017年領取的資格"], False),  # one year in two calendars
        ("2018臺北網球賽在哪裡買票", ["2017臺北網球賽購票", "網球賽門票"], True),
        ("網球賽在哪裡買票", ["2017臺北網球賽購票"], False),
        ("我2019年買的冰箱能修嗎", ["冰箱壞了找誰修"], False),  # the row is of no year
        ("105年和107年差在哪", ["105年至107年怎麼算"], False),
        ("買2050元還差多少免運", ["滿2000元免運嗎"], False),
        ("買2050還差多少", ["滿2000免運嗎"], False),
        ("1999打不通", ["2017年的專線"], False),
        ("Where is the 2026 fair?", ["Where is the 2025 fair held?"], True),
    ],
)
def test_years_are_compared_and_not_prices_or_numbers(
    asked: str, rows: list[str], other: bool
) -> None:
    assert of_another_year(asked, rows) is other


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["verbatim", "locked"])
def test_another_year_goes_to_a_person_however_sure_the_bot_is(tmp_path: Path, mode: Mode) -> None:
    folder = tiny.run_folder(tmp_path / "run")
    train(tiny.plan(tiny.base(tmp_path / "base"), steps=1), tiny.EXAMPLES, folder)
    bot = Bot.open(folder, mode=mode)
    bot.calibration = Calibration((0.0,) * 4, (0.0,) * 4, (1.0,) * 4, bias=3.0, threshold=0.02)
    bot.pairs = tuple(replace(p, question=f"2017年{p.question}") for p in bot.pairs)
    replies = [bot.answer(f"2017年 {tiny.ROWS[0][0]}"), bot.answer(f"2018年 {tiny.ROWS[0][0]}")]
    assert [reply.handed_over for reply in replies] == [False, True]
    assert replies[1].text == bot.prompt.hand_over
