"""What kefu writes for vLLM is read by vLLM's own parser, where vLLM is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import export_runs as tiny
from kefu.export import export
from kefu.workspace import RunFolder

PARSE = """
import sys
import vllm.platforms
from vllm.platforms.cpu import CpuPlatform
vllm.platforms._current_platform = CpuPlatform()  # the parser needs no device, but asks for one
from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
found = make_arg_parser(FlexibleArgumentParser()).parse_args(["serve", *sys.argv[1:]])
validate_parsed_serve_args(found)
print("read", found.model, found.served_model_name, found.max_lora_rank, found.chat_template,
      [(one.name, one.path) for one in found.lora_modules or []])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp("vllm")
    return tiny.run(root / "shop-1", tiny.base(root / "base", "llama"))


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_an_export_says_how_vllm_is_to_serve_it(run: RunFolder, tmp_path: Path, form: str) -> None:
    export(run, form, tmp_path / "out")  # type: ignore[arg-type]
    lines = (tmp_path / "out" / "vllm.yaml").read_text(encoding="utf-8").splitlines(True)
    said = json.loads("".join(line for line in lines if not line.startswith("#")))
    assert (tmp_path / "out" / said["chat-template"]).is_file()
    rank = json.loads((run.adapter / "adapter_config.json").read_text())["r"]
    lora = (said.get("enable-lora"), said.get("lora-modules"), said.get("max-lora-rank"))
    assert lora == ((True, ["shop-1=."], max(8, rank)) if form == "adapter" else (None,) * 3)
    assert "vllm serve --config vllm.yaml" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_vllms_own_parser_reads_it(run: RunFolder, tmp_path: Path, form: str) -> None:
    pytest.importorskip("vllm", reason="needs vLLM (pip install vllm)")
    export(run, form, tmp_path / "out")  # type: ignore[arg-type]
    out = subprocess.run(
        [sys.executable, "-c", PARSE, "--config", "vllm.yaml"],
        capture_output=True, text=True, cwd=tmp_path / "out", env={**os.environ},
    )  # fmt: skip
    assert out.returncode == 0, out.stderr[-2000:]
    model, name = ("base", "base") if form == "adapter" else (".", "shop-1")
    lora = "[('shop-1', '.')]" if form == "adapter" else "[]"
    told = next(line for line in out.stdout.splitlines() if line.startswith("read "))
    assert told.startswith(f"read {model} ['{name}']") and told.endswith(lora)
