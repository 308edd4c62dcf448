"""What kefu writes for vLLM is read by vLLM's own parser and loader of adapters, where vLLM is
installed. No model answers in vLLM here: that takes an accelerator, or its build for processors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

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

LOAD = """
import sys
import torch
import vllm.platforms
from vllm.platforms.cpu import CpuPlatform
vllm.platforms._current_platform = CpuPlatform()
from vllm.config.lora import LoRAConfig
from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper
from vllm.model_executor.models.llama import LlamaForCausalLM
folder, rank = sys.argv[1:]
told = PEFTHelper.from_local_dir(folder, 1024)
told.validate_legal(LoRAConfig(max_lora_rank=int(rank)))
names = {p for parts in LlamaForCausalLM.packed_modules_mapping.values() for p in parts}
found = LoRAModel.from_local_checkpoint(
    folder, names | {"o_proj", "down_proj"}, told, lora_model_id=1, device="cpu",
    dtype=torch.float32)
one = found.loras["model.layers.1.mlp.up_proj"]
print("read", len(found.loras), one.scaling, float((one.lora_b @ one.lora_a).sum()))
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


def test_vllms_own_loader_takes_the_adapter_as_it_was_trained(
    run: RunFolder, tmp_path: Path
) -> None:
    pytest.importorskip("vllm", reason="needs vLLM (pip install vllm)")
    export(run, "adapter", tmp_path / "out")
    lines = (tmp_path / "out" / "vllm.yaml").read_text(encoding="utf-8").splitlines(True)
    rank = json.loads("".join(x for x in lines if not x.startswith("#")))["max-lora-rank"]
    command = [sys.executable, "-c", LOAD, str(tmp_path / "out"), str(rank)]
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr[-2000:]
    config = json.loads((run.adapter / "adapter_config.json").read_text())
    tensors = load_file(run.adapter / "adapter_model.safetensors")
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_{}.weight"
    product = float((tensors[name.format("B")] @ tensors[name.format("A")]).sum())
    told = next(line for line in out.stdout.splitlines() if line.startswith("read ")).split()
    assert (
        int(told[1]) == len(tensors) // 2 and float(told[2]) == config["lora_alpha"] / config["r"]
    )
    assert float(told[3]) == pytest.approx(product, rel=1e-3)
