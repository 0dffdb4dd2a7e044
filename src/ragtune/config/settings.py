"""ragtune.toml, environment and .env to one validated :class:`Settings`."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError, TomlConfigSettingsSource

from ragtune.config.keys import PREFIX, read_dotenv
from ragtune.config.sections import (
    ChatSettings,
    DatasetSettings,
    EmbedSettings,
    EvaluateSettings,
    GenerateSettings,
    IndexSettings,
    JudgeSettings,
    ModelSettings,
    PrepareSettings,
    RetrieverSettings,
    RetrieveSettings,
    Section,
    ServeSettings,
    TeacherSettings,
    TraceSettings,
    TrainSettings,
    TuningSettings,
    WebSettings,
)
from ragtune.errors import ConfigError

SETTINGS_FILE = "ragtune.toml"


class Settings(BaseSettings):
    """Everything that a project can set. Each section's fields say what they mean and in which unit."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        dotenv_filtering="only_existing",
    )

    documents: tuple[str, ...] = ()
    """Files and folders to ingest, relative to the project, and addresses of web pages and sitemaps."""
    questions: tuple[str, ...] = ("questions",)
    """Question files (JSON Lines or SQuAD JSON) and folders of them, relative to the project."""
    prepare: PrepareSettings = PrepareSettings()
    web: WebSettings = WebSettings()
    embed: EmbedSettings = EmbedSettings()
    index: IndexSettings = IndexSettings()
    retrieve: RetrieveSettings = RetrieveSettings()
    retriever: RetrieverSettings = RetrieverSettings()
    dataset: DatasetSettings = DatasetSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    generate: GenerateSettings = GenerateSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    chat: ChatSettings = ChatSettings()
    tuning: TuningSettings = TuningSettings()
    teacher: TeacherSettings = TeacherSettings()
    judge: JudgeSettings = JudgeSettings()
    serve: ServeSettings = ServeSettings()
    traces: TraceSettings = TraceSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings passes it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of precedence, highest first."""
        toml = TomlConfigSettingsSource(settings_cls, settings_cls.model_config.get("toml_file"))
        return init_settings, env_settings, dotenv_settings, toml


def load_settings(project: Path, overrides: Sequence[str] = ()) -> Settings:
    """The settings of a project.

    Args:
        project: folder that holds ragtune.toml and .env; either may be absent.
        overrides: ``a.b=c`` strings, highest precedence; values are read as TOML, else as text.

    Raises:
        ConfigError: an unknown name, a malformed file or a value out of range; the message names the nearest known setting.
    """
    toml_file, env_file = project / SETTINGS_FILE, project / ".env"
    _check_environment(os.environ, "environment")
    _check_environment(read_dotenv(project), ".env")

    class Here(Settings):
        model_config = SettingsConfigDict(toml_file=toml_file, env_file=env_file)

    try:
        loaded = Here(**_parse_overrides(overrides))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{SETTINGS_FILE} is not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{SETTINGS_FILE} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except SettingsError as error:
        raise ConfigError(
            f'{error}: in the environment and .env a list is written as JSON, like {PREFIX}EVALUATE__ARMS=\'["base", "tuned"]\', '
            f"and a section's settings each by its name, like {PREFIX}MODEL__BASE=NAME"
        ) from None
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    values = {name: getattr(loaded, name) for name in Settings.model_fields}
    values["model"] = _with_template(loaded.model, project)
    return Settings.model_construct(**values)


def _with_template(model: ModelSettings, project: Path) -> ModelSettings:
    """With the text of the chat template, so that what is trained knows the words and not the name of a file."""
    given = model.chat_template
    if given is None or "{" in given:
        return model
    try:
        text = (project / given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"model.chat_template = {given!r} cannot be read ({error}): name a .jinja file, or unset it") from None
    if "{" not in text:
        raise ConfigError(f"model.chat_template = {given!r} is no Jinja template: it has no {{{{ … }}}} to write a message with")
    return model.model_copy(update={"chat_template": text})


def changed_settings(settings: Settings, other: Settings) -> dict[str, Any]:
    """What differs from ``other``, by dotted name."""
    changed: dict[str, Any] = {}
    for name in setting_names():
        section, _, leaf = name.rpartition(".")
        value, before = (getattr(getattr(each, section) if section else each, leaf) for each in (settings, other))
        if value != before and value is not None:
            changed[name] = value
    return changed


def setting_names() -> list[str]:
    """Every setting as a dotted name, sections in order."""
    return [name for name, _, _ in setting_fields()]


def setting_fields() -> Iterator[tuple[str, str, Any]]:
    """Every setting: dotted name, what it means, default."""
    nested = []
    for name, info in Settings.model_fields.items():
        if isinstance(info.default, Section):
            nested.append((name, info.default))
        else:
            yield name, info.description or "", info.default
    for section, value in nested:
        for name, info in type(value).model_fields.items():
            yield f"{section}.{name}", info.description or "", info.get_default(call_default_factory=True)


def _parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    known = setting_names()
    parsed: dict[str, Any] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        name = name.strip()
        if not equals:
            raise ConfigError(f"--set {override!r}: write it as name=value, for example --set train.epochs=2")
        if name not in known:
            raise ConfigError(f"--set {name}: there is no such setting{_nearest(name, known)}")
        section, _, leaf = name.rpartition(".")
        target = parsed.setdefault(section, {}) if section else parsed
        try:
            target[leaf] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            target[leaf] = text.strip()
    return parsed


def _check_environment(variables: Mapping[str, str | None], where: str) -> None:
    known = {PREFIX + name.replace(".", "__").upper() for name in setting_names() if "." in name}
    for variable in variables:
        upper = variable.upper()
        if upper.startswith(PREFIX) and "__" in upper and upper not in known:
            raise ConfigError(f"{where}: {variable} is not a setting{_nearest(upper, known)}")


def _nearest(name: str, known: Sequence[str] | set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; 'ragtune init' writes a ragtune.toml with all of them"


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"{name} is not a setting{_nearest(name, setting_names())}")
        else:
            shown = cast(object, fault["input"])
            lines.append(f"{name} = {shown!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    return "; ".join(lines)
