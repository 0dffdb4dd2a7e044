"""The sentence-transformers embedder, on a tiny random BERT whose tokenizer.json truncates and pads as MiniLM's does."""

from __future__ import annotations

import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

from sentence_transformers import SentenceTransformer  # noqa: E402
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer  # noqa: E402
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: E402
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast  # noqa: E402

from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder  # noqa: E402
from ragtune.embed.tokens import load_counter  # noqa: E402
from ragtune.errors import ModelError  # noqa: E402
from ragtune.testing import check_embedder  # noqa: E402

MAX_TOKENS = 24
UNKNOWN = "[UNK]"
TEXTS = ["a", "the cable car", "wind " * 10, "", "Ünï", "no way back, said the goat", "x y z " * 30]


def save_model(folder: Path, *, seed: int = 0, pooling: str = "mean") -> Path:
    letters = [*string.ascii_lowercase, *"äöüïé.,?"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *("##" + letter for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep")}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "raw")
    fast.save_pretrained(folder / "raw")
    transformer = Transformer(str(folder / "raw"), max_seq_length=MAX_TOKENS)
    SentenceTransformer(modules=[transformer, Pooling(16, pooling_mode=pooling), Normalize()], device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("embedder"))


@pytest.fixture(scope="module")
def embedder(folder: Path) -> SentenceTransformersEmbedder:
    return SentenceTransformersEmbedder(folder, device="cpu")


def test_vectors_are_normalised_float32_of_the_dimension(embedder: SentenceTransformersEmbedder) -> None:
    vectors_nd = embedder.embed_documents(TEXTS)
    assert vectors_nd.shape == (len(TEXTS), embedder.dimension) == (len(TEXTS), 16)
    assert vectors_nd.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors_nd, axis=1), 1, atol=1e-5)
    assert embedder.embed_queries([]).shape == (0, 16)


def test_a_text_has_one_vector_whatever_it_is_embedded_with(folder: Path, embedder: SentenceTransformersEmbedder) -> None:
    alone = np.concatenate([embedder.embed_documents([text]) for text in TEXTS])
    np.testing.assert_allclose(embedder.embed_documents(TEXTS), alone, atol=1e-5)
    np.testing.assert_allclose(embedder.embed_documents(TEXTS[::-1])[::-1], alone, atol=1e-5)
    small = SentenceTransformersEmbedder(folder, batch_size=2, device="cpu")
    np.testing.assert_allclose(small.embed_documents(TEXTS), alone, atol=1e-5)
    np.testing.assert_allclose(embedder.embed_queries(TEXTS), alone, atol=1e-5)


def test_where_memory_does_not_suffice_fewer_texts_are_embedded_at_once(folder: Path, embedder: SentenceTransformersEmbedder) -> None:
    cramped = SentenceTransformersEmbedder(folder, device="cpu")

    def refuse(_module, args) -> None:
        if len(args[0]["input_ids"]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    cramped._model[0].register_forward_pre_hook(refuse)
    np.testing.assert_allclose(cramped.embed_documents(TEXTS), embedder.embed_documents(TEXTS), atol=1e-5)


def test_tokens_are_counted_without_truncation_padding_or_special_ones(embedder: SentenceTransformersEmbedder) -> None:
    assert embedder.count_tokens(["", "a", "ab c", "a " * 5000]) == [0, 1, 3, 5000]
    assert embedder.count_tokens([]) == []


def test_the_model_sees_its_own_maximum_not_the_stored_truncation(embedder: SentenceTransformersEmbedder) -> None:
    assert embedder.max_tokens == MAX_TOKENS
    room = MAX_TOKENS - 2  # [CLS] and [SEP]
    embedder.count_tokens(["a b"])  # counting leaves embedding as it was
    short, full, cut = embedder.embed_documents(["a " * (room - 1) + "b", "a " * room, "a " * room + "b c d"])
    np.testing.assert_allclose(full, cut, atol=1e-6)
    assert np.abs(full - short).max() > 1e-4


def test_the_fingerprint_is_of_weights_and_pooling_not_of_the_name(folder: Path, tmp_path: Path) -> None:
    def fingerprint(path: Path) -> str:
        return SentenceTransformersEmbedder(path, device="cpu").fingerprint

    same = fingerprint(save_model(tmp_path / "same"))
    assert same == fingerprint(folder)
    assert fingerprint(save_model(tmp_path / "seed", seed=1)) != same
    assert fingerprint(save_model(tmp_path / "pooling", pooling="cls")) != same


def test_a_folder_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"embed\.model"):
        SentenceTransformersEmbedder(tmp_path / "nothing")


def test_loading_and_embedding_print_nothing(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder as E\n"
        "e = E(Path(sys.argv[1])); e.embed_documents(['a', 'b ' * 999]); e.embed_queries(['c']); e.count_tokens(['d ' * 999])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_it_fulfils_the_contract(folder: Path) -> None:
    check_embedder(lambda: SentenceTransformersEmbedder(folder, device="cpu"))


def test_shortened_vectors_are_the_first_numbers_normalised_under_a_fingerprint_of_their_own(folder: Path, embedder) -> None:
    short = SentenceTransformersEmbedder(folder, device="cpu", dimensions=8)
    expected_nd = embedder.embed_documents(TEXTS)[:, :8]
    np.testing.assert_allclose(short.embed_documents(TEXTS), expected_nd / np.linalg.norm(expected_nd, axis=1, keepdims=True), atol=1e-5)
    assert (short.dimension, short.fingerprint == embedder.fingerprint) == (8, False)
    with pytest.raises(ModelError, match=r"embed\.dimensions = 99"):
        SentenceTransformersEmbedder(folder, device="cpu", dimensions=99)


def test_a_tokenizer_alone_counts_as_the_embedder_does(folder: Path, embedder, tmp_path: Path) -> None:
    texts = ["", *TEXTS, "a " * 500]
    assert load_counter(folder)(texts) == embedder.count_tokens(texts)
    with pytest.raises(ModelError, match=r"prepare\.tokenizer"):
        load_counter(tmp_path)


def test_tokens_are_counted_as_transformers_counts_them(tiny_embedder) -> None:
    embedder = SentenceTransformersEmbedder(tiny_embedder)
    texts = ["", "The mill of Calder.", "slate heron " * 400, "Ünïcode 🚠 9,5"]
    encoded = embedder._model.tokenizer(texts, add_special_tokens=False, truncation=False, padding=False, verbose=False)
    assert embedder.count_tokens(texts) == [len(ids) for ids in encoded["input_ids"]]
