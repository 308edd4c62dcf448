"""Walks through the studio in a real browser, with a tiny base; pictures lie in artifacts/studio.

The same walk with the embedded base, minutes long, is bench/walk.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import tiny

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
import walk
from kefu import background, jobs
from kefu.faq import write
from kefu.workspace import Workspace

pytestmark = pytest.mark.timeout(3000)  # a browser, a training and an exam on a busy machine
minutes = pytest.mark.skipif(
    not os.environ.get("KEFU_WALK"), reason="takes minutes: `make walk` sets KEFU_WALK"
)
ALONE = 'reader = "none"\n'
"""The embedded base, which takes seconds to load, does not read for the tiny one."""
FAULTY = "question,answer,wordings\n" + "".join(
    f"{q},{a},{'|'.join(w)}\n" for q, a, w in tiny.ROWS[:4]
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if walk.chromium() is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    return tiny.base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a disk of its own, of 48 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size=48m,uid={os.getuid()}", "none", str(folder)]
    for first in ([], ["sudo", "-n"]):
        if shutil.which((first or words)[0]) and not subprocess.run([*first, *words]).returncode:
            yield folder
            subprocess.run([*first, "umount", "-l", str(folder)], check=True)
            return
    pytest.skip("needs the right to mount a small disk")


def fill(disk: Path) -> Path:
    """Writes until nothing more goes onto the disk."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return ballast


@pytest.mark.parametrize("size", walk.SIZES)
@pytest.mark.parametrize("language", ["zh-TW", "en"])
@minutes
def test_the_whole_studio_on_the_sample(
    tmp_path: Path, base: Path, language: str, size: str
) -> None:
    (tmp_path / "kefu.toml").write_text(f'base = "{base}"\n{ALONE}thorough = "quick"\n')
    shots = walk.SHOTS / f"tiny-{language}-{size}"
    with walk.studio(tmp_path) as address, walk.browser(language, size) as page:
        person = walk.Walk(page, address, shots)
        person.to_plan()
        person.to_report()
        assert person.clicks <= walk.MOST_CLICKS
        chinese = language == "zh-TW"
        assert ("最糟的答案" in person.report()) == chinese
        person.to_the_end("可以退貨嗎？")
        assert person.elsewhere == [] and person.faults == []
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= walk.SIZES[size][0]
    made = Workspace(tmp_path)
    assert [run.finished for run in made.runs()] == [True]
    assert len(list((tmp_path / "exports").glob("*.zip"))) == 1


@minutes
def test_a_full_disk_is_said_and_nothing_is_lost(small_disk: Path, base: Path) -> None:
    (small_disk / "kefu.toml").write_text(f'base = "{base}"\n{ALONE}thorough = "thorough"\n')
    shop = small_disk.parent / "shop.csv"
    shop.write_text(FAULTY, encoding="utf-8")
    with walk.studio(small_disk) as address, walk.browser("zh-TW") as page:
        person = walk.Walk(page, address, walk.SHOTS / "full-disk")
        ballast = fill(small_disk)
        person.upload(shop)
        person.see(".toast-wrap :text('磁碟')")
        person.picture("upload")
        page.click(".toast-close")
        ballast.unlink()
        person.upload(shop)
        person.click("#table_next")
        person.click("#word_accept")
        person.see("#plan .k-card")
        ballast = fill(small_disk)
        person.click("#plan_start")
        person.see(".toast-wrap :text('No space left')")
        person.picture("start")
        page.click(".toast-close")
        ballast.unlink()
        person.click("#plan_start")
        person.see("#live .k-bar", 1800)
        ballast = fill(small_disk)
        person.see("#live .k-stop:has-text('No space left')", 1800)
        person.picture("training")
        ballast.unlink()
        person.click("#train_resume")
        person.see("#train_exam", 1800)
        assert person.faults == []
    (run,) = Workspace(small_disk).runs()
    assert run.finished


@minutes
def test_from_a_faulty_file_to_a_training_that_is_stopped_on_a_phone(
    tmp_path: Path, base: Path
) -> None:
    (tmp_path / "kefu.toml").write_text(f'base = "{base}"\n{ALONE}thorough = "thorough"\n')
    shop, broken = tmp_path / "shop.csv", tmp_path / "broken.xlsx"
    shop.write_text(FAULTY + "怎麼付款？,\n", encoding="utf-8")
    broken.write_bytes(b"PK\x03\x04 cut off")
    with walk.studio(tmp_path) as address, walk.browser("zh-TW", "phone") as page:
        person = walk.Walk(page, address, walk.SHOTS / "faulty")
        person.upload(broken)  # said plainly, and the page goes on
        person.see(".toast-wrap :text('用不了')")
        person.picture("broken")
        page.click(".toast-close")

        person.clicks = 0
        person.upload(shop)
        person.see("#findings .k-stop")
        person.picture("findings")
        assert "第 6 列" in person.text("#findings")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= walk.SIZES["phone"][0]  # the table scrolls by itself
        person.click("#table_next")
        person.see(".toast-wrap :text('先改')")  # an empty answer is not passed over
        page.click(".toast-close")
        person.write("#table [data-testid=cell-4-2]", "可刷卡或付現。")
        person.click("#table_next")
        person.click("#word_accept")
        person.see("#plan .k-card")
        person.click("#plan_start")
        person.see("#live .k-bar", 1800)
        page.click("#train_stop")
        person.see("#train_resume")
        page.goto(address)  # whoever opens the page finds what was trained, and how far
        person.see("#live .k-warn")
        person.see("#train_resume")
        assert "按「繼續」" in person.text("#live")
        person.picture("stopped")
        person.click("#train_resume")
        person.click("#train_exam", 1800)
        person.see("#report iframe", 1800)
        assert "題沒答好" in person.text("#report") and "最糟的答案" in person.report()
        person.picture("report")
        assert person.clicks <= walk.MOST_CLICKS
        assert person.elsewhere == [] and person.faults == []
    assert not any((tmp_path / ".studio" / "uploads").rglob("*.*"))  # read, and removed
    run = Workspace(tmp_path).run("shop-1")
    assert run.finished and [s.step for s in run.steps()] == list(range(1, run.run().steps + 1))
    assert not background.runs(background.last(Workspace(tmp_path)))


@minutes
def test_from_the_demo_to_an_own_spreadsheet_examined(tmp_path: Path, base: Path) -> None:
    """The folder is as `kefu demo` leaves it: the sample with a run that nobody examined yet."""
    jobs.init(tmp_path)
    (tmp_path / "kefu.toml").write_text(
        f'faq = "faq.csv"\nbase = "{base}"\n{ALONE}thorough = "quick"\n'
    )
    words = [sys.executable, "-m", "kefu", "-C", str(tmp_path), "train", "--steps", "4", "--json"]
    subprocess.run(words, check=True, cwd=tmp_path, capture_output=True)
    own = tmp_path / "我的店.xlsx"
    write(tiny.FAQ.pairs, own)
    with walk.studio(tmp_path) as address, walk.browser("zh-TW") as page:
        person = walk.Walk(page, address, walk.SHOTS / "own")
        (demo,) = Workspace(tmp_path).runs()
        assert demo.name in person.value("#run input")
        person.to_plan(own)
        person.to_report()
        assert person.clicks <= walk.MOST_CLICKS
        assert "我的店-1" in person.value("#run input")
        person.picture("chosen")
