"""Settings: where each comes from, what is refused, and that keys stay secret."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune import config
from ragtune.config import load_settings, present_keys, read_key, render_toml, setting_names
from ragtune.config.settings import setting_fields
from ragtune.doctor import run_checks
from ragtune.errors import ConfigError

SECRET = "sk-do-not-show-this"  # noqa: S105 - made up


def write(folder: Path, toml: str = "", env: str = "") -> Path:
    (folder / "ragtune.toml").write_text(toml, encoding="utf-8")
    (folder / ".env").write_text(env, encoding="utf-8")
    return folder


def test_an_empty_folder_has_the_defaults(tmp_path):
    settings = load_settings(tmp_path)
    assert settings == config.Settings.model_construct()
    assert settings.train.epochs == config.TrainSettings().epochs


def test_set_beats_environment_beats_dotenv_beats_toml_beats_defaults(tmp_path, monkeypatch):
    default = config.TrainSettings().epochs
    project = write(tmp_path)
    assert load_settings(project).train.epochs == default
    write(tmp_path, "[train]\nepochs = 11\n")
    assert load_settings(project).train.epochs == 11
    write(tmp_path, "[train]\nepochs = 11\n", "RAGTUNE_TRAIN__EPOCHS=12\n")
    assert load_settings(project).train.epochs == 12
    monkeypatch.setenv("RAGTUNE_TRAIN__EPOCHS", "13")
    assert load_settings(project).train.epochs == 13
    assert load_settings(project, ["train.epochs=14"]).train.epochs == 14


def test_sources_are_merged_setting_by_setting(tmp_path, monkeypatch):
    write(tmp_path, "[train]\nepochs = 11\nrank = 3\nseed = 5\n", "RAGTUNE_TRAIN__RANK=4\n")
    monkeypatch.setenv("RAGTUNE_TRAIN__SEED", "6")
    train = load_settings(tmp_path, ["train.dropout=0.25"]).train
    assert (train.epochs, train.rank, train.seed, train.dropout) == (11, 4, 6, 0.25)


def test_two_projects_do_not_see_each_other(tmp_path):
    for name, epochs in (("one", 2), ("two", 3)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, f"[train]\nepochs = {epochs}\n")
    one, two = load_settings(tmp_path / "one"), load_settings(tmp_path / "two")
    assert (one.train.epochs, two.train.epochs) == (2, 3)


def test_a_dotenv_may_hold_what_is_not_ours(tmp_path):
    write(tmp_path, env=f"DATABASE_URL=postgres://x\nOPENAI_API_KEY={SECRET}\nRAGTUNE_TRAIN__RANK=4\nRAGTUNE_CACHE=/tmp/x\n")
    assert load_settings(tmp_path).train.rank == 4


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.shared_contexts=false", ("train", "shared_contexts", False)),
        ("model.base=org/name", ("model", "base", "org/name")),
        ('evaluate.arms=["base", "tuned"]', ("evaluate", "arms", ("base", "tuned"))),
        ("model.base = my model", ("model", "base", "my model")),
        ("embed.model=a=b", ("embed", "model", "a=b")),
        ("train.learning_rate=1e-4", ("train", "learning_rate", 1e-4)),
    ],
)
def test_set_reads_toml_values_and_bare_text(tmp_path, override, expected):
    section, name, value = expected
    assert getattr(getattr(load_settings(tmp_path, [override]), section), name) == value


@pytest.mark.parametrize(
    ("toml", "env", "variables", "overrides", "expected"),
    [
        ("[train]\nepoch = 2\n", "", {}, [], "train.epochs"),
        ("[trian]\nepochs = 2\n", "", {}, [], "train"),
        ("", "RAGTUNE_TRAIN__EPOCH=2\n", {}, [], r"\.env: RAGTUNE_TRAIN__EPOCH is not a setting; did you mean RAGTUNE_TRAIN__EPOCHS"),
        ("", "", {"RAGTUNE_TRIAN__EPOCHS": "2"}, [], "RAGTUNE_TRIAN__EPOCHS.* RAGTUNE_TRAIN__EPOCHS"),
        ("", "", {}, ["retreive.k=2"], "did you mean retrieve.k"),
        ("", "", {}, ["train.epochs"], "name=value"),
        ("", "", {}, ["train=2"], "no such setting"),
    ],
)
def test_an_unknown_name_is_an_error_that_names_the_nearest(tmp_path, monkeypatch, toml, env, variables, overrides, expected):
    write(tmp_path, toml, env)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=expected):
        load_settings(tmp_path, overrides)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[train]\nepochs = 0\n", r"train\.epochs = 0: .*greater than or equal to 1"),
        ('[index]\nbackend = "milvus"\n', r"index\.backend = 'milvus': .*'faiss'"),
        (
            "[prepare]\nchunk_overlap = 96\n",
            r"prepare\.chunk_overlap = 96: it must be less than prepare\.chunk_size, which is 96",
        ),
        ("[prepare]\nchunk_overlap = 40\nchunk_size = 32\n", r"less than prepare\.chunk_size, which is 32"),
        ('[prepare.metadata]\n"hr/*" = {access = 3}\n', r'for "hr/\*" write access as a list of tags'),
        ('[prepare.metadata]\n"hr/*" = {access = [["hr"]]}\n', r'for "hr/\*" write access as a list of tags'),
        ("[evaluate]\narms = []\n", r"evaluate\.arms = \[\]: name at least one, or leave it unset"),
        ('[evaluate]\narms = ["base", "tuned", "base"]\n', r"evaluate\.arms = .*: base stands in it twice: name each once"),
        ("[evaluate]\ncontexts = []\n", r"evaluate\.contexts = \[\]: name at least one"),
        ('[evaluate]\ncontexts = ["oracle", "oracle"]\n', r"evaluate\.contexts = .*: oracle stands in it twice"),
        ("[train\n", "ragtune.toml is not valid TOML"),
        ("train = 3\n", "train = 3"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_met(tmp_path, toml, expected):
    with pytest.raises(ConfigError, match=expected):
        load_settings(write(tmp_path, toml))


@pytest.mark.parametrize("name", ["ragtune.toml", ".env"])
def test_a_file_that_is_no_utf8_is_a_config_error(tmp_path, name):
    (tmp_path / name).write_bytes(b'documents = "\xff"\n')
    with pytest.raises(ConfigError, match=f"{name} is not UTF-8"):
        load_settings(tmp_path)


def test_settings_cannot_be_changed_behind_our_back(tmp_path):
    settings = load_settings(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        settings.train.epochs = 3


def test_the_written_toml_is_the_defaults_and_every_setting_stands_in_it(tmp_path):
    text = render_toml()
    assert load_settings(write(tmp_path, text)) == load_settings(tmp_path / "elsewhere")
    lines = text.splitlines()
    for name in setting_names():
        leaf = name.rpartition(".")[2]
        assert any(line.startswith(f"# {leaf} =") for line in lines), name


def test_every_commented_default_can_be_uncommented(tmp_path):
    lines = render_toml().splitlines()
    known = {name.rpartition(".")[2] for name in setting_names()}
    opened = [line[2:] if line[2:].partition(" =")[0] in known and not line.endswith("=") else line for line in lines]
    assert sum(one != other for one, other in zip(lines, opened, strict=True)) > 25
    assert load_settings(write(tmp_path, "\n".join(opened))) == load_settings(tmp_path / "elsewhere")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=3))
def test_any_path_survives_the_written_toml(paths):
    assert tomllib.loads(render_toml({"documents": paths}))["documents"] == paths


def test_each_setting_has_a_description():
    for name, description, _ in setting_fields():
        assert description.endswith((".", "]")), name


@pytest.mark.parametrize("setting", ["model.base", "embed.model", "teacher.model", "judge.model"])
@pytest.mark.parametrize("name", ["gemini-pro", "models/gemini-pro", "google_genai:gemini-pro"])
def test_a_model_that_is_gone_is_told_what_to_write_whatever_setting_names_it(tmp_path, setting, name):
    with pytest.raises(ConfigError, match=rf"^{setting} = '{name}': .* write gemini:gemini-3.8-flash"):
        load_settings(tmp_path, [f"{setting}={name}"])
    section, _, leaf = setting.partition(".")
    write(tmp_path, toml=f'[{section}]\n{leaf} = "{name}"\n')
    with pytest.raises(ConfigError, match=r"write gemini:gemini-3\.8-flash"):
        load_settings(tmp_path)


def test_keys_are_found_in_environment_dotenv_and_mounted_files(tmp_path, monkeypatch):
    mounted = tmp_path / "mounted"
    mounted.write_text(f"{SECRET}-file\n", encoding="utf-8")
    write(tmp_path, env=f"OPENAI_API_KEY={SECRET}-dotenv\nDEEPSEEK_API_KEY={SECRET}-dotenv\nGEMINI_API_KEY_FILE={mounted}\n")
    monkeypatch.setenv("OPENAI_API_KEY", f"{SECRET}-env")
    monkeypatch.setenv("HF_TOKEN_FILE", str(mounted))
    monkeypatch.setenv("GOOGLE_API_KEY_FILE", str(tmp_path / "absent"))
    names = ("OPENAI_API_KEY", "DEEPSEEK_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "HF_TOKEN")
    assert {"TOGETHER_API_KEY", *names} < present_keys(tmp_path).keys()
    assert present_keys(tmp_path, names) == {
        "OPENAI_API_KEY": "environment",
        "DEEPSEEK_API_KEY": ".env",
        "GEMINI_API_KEY": str(mounted),
        "GOOGLE_API_KEY": None,
        "HF_TOKEN": str(mounted),
    }
    values = {name: key and key.get_secret_value() for name in names for key in [read_key(tmp_path, name)]}
    assert values == {
        "OPENAI_API_KEY": f"{SECRET}-env",
        "DEEPSEEK_API_KEY": f"{SECRET}-dotenv",
        "GEMINI_API_KEY": f"{SECRET}-file",
        "GOOGLE_API_KEY": None,
        "HF_TOKEN": f"{SECRET}-file",
    }


def test_keys_are_never_shown(tmp_path, monkeypatch):
    write(tmp_path, env=f"OPENAI_API_KEY={SECRET}\nRAGTUNE_TRAIN__EPOCHS=none\n")
    monkeypatch.setenv("DEEPSEEK_API_KEY", SECRET)
    assert SECRET not in repr(read_key(tmp_path, "OPENAI_API_KEY"))
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path)
    assert SECRET not in str(caught.value)
    settings = load_settings(tmp_path, ["train.epochs=1"])
    assert SECRET not in repr(settings)
    assert SECRET not in repr(run_checks(tmp_path, settings))


@pytest.mark.parametrize(
    ("name", "value"), [("RAGTUNE_MODEL", "foo"), ("RAGTUNE_QUESTIONS", "q.jsonl"), ("RAGTUNE_EVALUATE__ARMS", "base,tuned")]
)
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_value_that_should_be_json_is_a_mistake_that_says_how_to_write_it(tmp_path, monkeypatch, name, value, where):
    if where == ".env":
        (tmp_path / ".env").write_text(f"{name}={value}\n", encoding="utf-8")
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"a list is written as JSON, like RAGTUNE_EVALUATE__ARMS="):
        load_settings(tmp_path)
