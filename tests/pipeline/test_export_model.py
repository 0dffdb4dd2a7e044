"""A tuned model as other programs load it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import transformers  # noqa: E402

from ragtune import Project, build  # noqa: E402
from ragtune.errors import ProjectError  # noqa: E402
from ragtune.prompts import PROMPT_VERSION  # noqa: E402
from ragtune.train.lora import add_lora, save_adapter  # noqa: E402
from ragtune.workspace import Manifest, write_manifest  # noqa: E402
from tiny_models import TEMPLATE, save_chat_model  # noqa: E402

OWN_TEMPLATE = TEMPLATE.replace("{% for", "{# its own #}{% for", 1)
IDS = torch.arange(3, 40)[None]


def load(folder: Path) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture
def tuned(tmp_path: Path) -> Project:
    """A project with a tuned model, and the base that it was tuned on, with a chat template of its own."""
    base = save_chat_model(tmp_path / "base")
    project = Project.init(tmp_path / "project")
    (project.path / "own.jinja").write_text(OWN_TEMPLATE)
    project = Project(project.path, overrides=[f"model.base={base}", "model.chat_template=own.jinja"])
    folder = project.workspace.artifact("models", "one")
    model = load(base)
    layers = add_lora(model, rank=4, alpha=8.0, dropout=0.0, seed=1)
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_B, std=0.1, generator=torch.Generator().manual_seed(2))
    save_adapter(folder / "adapter", layers, str(base))
    with torch.no_grad():
        np.save(tmp_path / "logits.npy", model(IDS).logits.numpy())
    settings = {"model": build.model_part(project.settings), "prompt": PROMPT_VERSION}
    inputs = {"base": build.model_fingerprint(project.settings)}
    write_manifest(folder, Manifest("models", "one", "key", inputs, settings, created="2026-01-01T00:00"))
    return Project(project.path)


def test_a_tuned_model_is_written_whole_with_the_template_that_it_was_tuned_with(tuned: Project, tmp_path: Path) -> None:
    made = tuned.export_model(tmp_path / "out" / "merged")
    assert (made.model, made.format, made.path) == ("one", "safetensors", str(tmp_path / "out" / "merged"))
    assert made.size > (tmp_path / "base" / "model.safetensors").stat().st_size
    with torch.no_grad():
        assert np.abs(load(tmp_path / "out" / "merged")(IDS).logits.numpy() - np.load(tmp_path / "logits.npy")).max() < 1e-3
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out" / "merged").chat_template == OWN_TEMPLATE
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["merged"]


def test_a_saved_model_gives_the_next_token_as_pytorch_does(tuned: Project, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    tuned.export_model(tmp_path / "served", "tensorflow", name="one")
    ids_bt = np.concatenate([IDS.numpy(), IDS.numpy()]).astype(np.int32)
    mask_bt = np.ones_like(ids_bt)
    mask_bt[1, 20:] = 0
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    logits_bv = serve(token_ids=tf.constant(ids_bt), padding_mask=tf.constant(mask_bt))["logits"].numpy()
    expected_tv = np.load(tmp_path / "logits.npy")[0]
    assert np.abs(logits_bv[0] - expected_tv[-1]).max() < 1e-3
    assert np.abs(logits_bv[1] - expected_tv[19]).max() < 1e-3
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "served" / "assets.extra").chat_template == OWN_TEMPLATE


def test_what_cannot_be_exported_is_refused(tuned: Project, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"no format 'gguf'.*safetensors, tensorflow"):
        tuned.export_model(tmp_path / "out", "gguf")
    with pytest.raises(ProjectError, match="is there already"):
        tuned.export_model(tmp_path)
    with pytest.raises(ProjectError, match="no finished model named two"):
        tuned.export_model(tmp_path / "out", name="two")
    hosted = Manifest("models", "far", "key2", {}, {"hosted": "openai:ft"}, created="2026-01-02T00:00")
    write_manifest(tuned.workspace.artifact("models", "far"), hosted)
    with pytest.raises(ProjectError, match="far was tuned by its vendor"):
        tuned.export_model(tmp_path / "out")
    model = load(tmp_path / "base")
    torch.nn.init.normal_(model.lm_head.weight)
    model.save_pretrained(tmp_path / "base")
    with pytest.raises(ProjectError, match="not what model one was tuned on"):
        tuned.export_model(tmp_path / "out", name="one")
    assert not (tmp_path / "out").exists()
