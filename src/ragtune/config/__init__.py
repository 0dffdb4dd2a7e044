"""A project's settings and keys.

Precedence: ``--set a.b=c``, environment (``RAGTUNE_TRAIN__EPOCHS``), ``.env``, ``ragtune.toml``, defaults. Environment names with a double
underscore are settings; an unknown one, or an unknown key in the file, is an error that names the nearest known one. Components take
flat arguments; none sees a Settings object.
"""

from ragtune.config.keys import KEYS, PREFIX, dotenv_in_environment, lend_token, present_keys, read_key, read_variable
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
    TeacherSettings,
    TrainSettings,
    TuningSettings,
    WebSettings,
    is_address,
)
from ragtune.config.settings import SETTINGS_FILE, Settings, changed_settings, load_settings, setting_names
from ragtune.config.toml import BESIDE, ENV_EXAMPLE, render_toml, toml_value

__all__ = [
    "BESIDE",
    "ENV_EXAMPLE",
    "KEYS",
    "PREFIX",
    "SETTINGS_FILE",
    "ChatSettings",
    "DatasetSettings",
    "EmbedSettings",
    "EvaluateSettings",
    "GenerateSettings",
    "IndexSettings",
    "JudgeSettings",
    "ModelSettings",
    "PrepareSettings",
    "RetrieveSettings",
    "RetrieverSettings",
    "Section",
    "Settings",
    "TeacherSettings",
    "TrainSettings",
    "TuningSettings",
    "WebSettings",
    "changed_settings",
    "dotenv_in_environment",
    "is_address",
    "lend_token",
    "load_settings",
    "present_keys",
    "read_key",
    "read_variable",
    "render_toml",
    "setting_names",
    "toml_value",
]
