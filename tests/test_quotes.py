"""Quotes: every match maps back to exact offsets of the original, whatever the text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.quotes import Folded, check_quote, find_span, fold, to_document
from ragtune.types import Passage, Span

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
hostile = st.lists(
    st.one_of(
        st.sampled_from(
            ["\n", " ", "\u00a0", "\t", "# ", "- ", "> ", "| ", "|", "---", "|---|:-:|", "](", ")", "[", "*", "_", "**", "“", "”", "’", "–",
             "ﬁ", "½", "Å", "Å", "e\u0301", "\u0301", "\u00ad", "\u200b", "\ufeff", "İ", "ß", "ﷺ", "한글", "😀", "\\", "`",
             "\r\n", "\u2028", "\0"]
        ),
        st.text("ab1", min_size=1, max_size=3),
    ),
    max_size=25,
).map("".join)  # fmt: skip
prose = st.lists(
    st.sampled_from(["the", "crossing", "takes", "don't", "40", "minutes,", "naïve", "«so»", "—", "A–B", "x²", "office"]), min_size=1
)


def make_passage(number: int, text: str, *spans: Span) -> Passage:
    return Passage(f"p{number}", "a.md", "A", "", text, spans or (Span("a.md", 0, len(text)),), (f"c{number}",))


@given(st.one_of(anything, hostile))
def test_every_folded_character_remembers_where_it_came_from(text):
    folded = Folded(text)
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    assert list(folded.starts) == sorted(folded.starts)
    assert list(folded.ends) == sorted(folded.ends)
    for character, start, end in zip(folded.text, folded.starts, folded.ends, strict=True):
        assert 0 <= start < end <= len(text)
        behind = text[start:end]
        if character == " ":
            assert (
                behind.strip("*_|\\[]\u00ad\u200b\u200c\u200d\ufeff") != behind
                or any(each.isspace() or each == "|" for each in behind)
                or " " in unicodedata.normalize("NFKC", behind)
            )
        else:
            assert character in unicodedata.normalize("NFKC", behind) or character in "-'"


@given(st.one_of(anything, hostile), st.data())
def test_any_stretch_of_the_folded_text_is_found_at_offsets_that_fold_to_it(text, data):
    folded = Folded(text)
    first = data.draw(st.integers(0, len(folded.text)))
    last = data.draw(st.integers(first, len(folded.text)))
    needle = fold(folded.text[first:last]).strip()
    found = folded.find(folded.text[first:last])
    if not needle:
        assert found is None
    elif found is not None:
        inside = [
            character
            for character, start, end in zip(folded.text, folded.starts, folded.ends, strict=True)
            if found[0] <= start and end <= found[1]
        ]
        assert needle in "".join(inside)


@given(st.one_of(anything, hostile), st.data())
def test_a_verbatim_stretch_is_found_at_its_first_place(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    quote = text[start:end]
    found = find_span(quote, text)
    if fold(quote).strip():
        assert found == (text.find(quote), text.find(quote) + len(quote))
    else:
        assert found is None


@given(prose, prose, prose, st.data())
def test_a_retyped_quote_maps_to_the_exact_words(before, quoted, after, data):
    original = " ".join(quoted)
    text = f"{' '.join(before)} # {original} # {' '.join(after)}"
    retyped = original.translate(str.maketrans({"'": "’", "«": "“", "»": "”", "–": "-", "—": "−"}))
    gap = data.draw(st.sampled_from(["  ", "\n", "\t", "\u00a0", " \n  "]))
    dressed = data.draw(st.sampled_from(["{}", "**{}**", "_{}_", "\u200b{}"])).format(retyped.replace(" ", gap))
    found = find_span(dressed, text)
    assert found is not None
    assert fold(text[slice(*found)]) == fold(dressed).strip()
    assert text[slice(*found)] == text[slice(*found)].strip()


@given(st.one_of(anything, hostile))
def test_folding_twice_changes_nothing_where_no_line_starts_with_a_mark(text):
    once = fold(text)
    spaced = any(" " in unicodedata.normalize("NFKC", each) for each in text if not each.isspace())  # a lone macron, an Arabic ligature
    if not spaced and not any(mark in once for mark in "#-+>:|()"):
        assert fold(once) == once


@pytest.mark.parametrize(
    ("quote", "text", "expected"),
    [
        ("forty minutes", "It takes **forty**\nminutes.", "forty**\nminutes"),
        ("the ferry - and the train", "the ferry – and the\n> train", "the ferry – and the\n> train"),
        ('he said "go"', "he said “go” twice", "he said “go"),
        (
            "see the timetable today",
            "see [the timetable](https://example.org/a_(b)) today",
            "see [the timetable](https://example.org/a_(b)) today",
        ),
        ("efficient", "an eﬃcient one", "eﬃcient"),
        ("North 40", "| North | 40 |\n|---|---|", "North | 40"),
        ("one two", "- one\n- two", "one\n- two"),
        ("café", "cafe\u0301 open", "cafe\u0301"),
        ("don't go", "I don´t go", "don´t go"),
        ("soft hyphen", "soft hy\u00adphen", "soft hy\u00adphen"),
    ],
)
def test_markdown_and_typography_do_not_hide_a_quote(quote, text, expected):
    found = find_span(quote, text)
    assert found is not None
    assert text[slice(*found)].rstrip("”") == expected


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("Forty minutes", "forty minutes"),
        ("40 minutes", "4 0 minutes"),
        ("", "x"),
        ("  ", "x  y"),
        ("***", "***x"),
        ("|", "a | b"),
        ("x", ""),
    ],
)
def test_what_is_not_verbatim_words_is_no_quote(quote, text):
    assert find_span(quote, text) is None
    assert not check_quote(quote, [make_passage(1, text)]).valid


def test_the_search_starts_where_it_is_told():
    text = "the **pier** and the *pier*"
    first = find_span("the pier", text)
    assert first == (0, 10)
    assert find_span("the pier", text, 5) == (17, 26)
    assert find_span("the pier", text, 18) is None


def test_a_quote_is_looked_up_in_the_passages_in_order():
    passages = [
        make_passage(1, "nothing here"),
        make_passage(2, "the boat leaves", Span("b.md", 100, 115)),
        make_passage(3, "the boat leaves"),
    ]
    quote = check_quote("the  boat", passages)
    assert (quote.valid, quote.passage, quote.document, quote.start, quote.end) == (True, "p2", "b.md", 100, 108)
    assert check_quote("the train", passages) == type(quote)("the train", False)


@given(st.lists(st.text("ab c", min_size=1, max_size=8), min_size=1, max_size=4), st.data())
def test_offsets_in_a_passage_of_several_spans_are_offsets_in_its_document(texts, data):
    document, spans = "", []
    for text in texts:
        document += "x" * data.draw(st.integers(0, 3))
        spans.append(Span("a.md", len(document), len(document) + len(text)))
        document += text
    passage = make_passage(1, "\n".join(texts), *spans)
    number = data.draw(st.integers(0, len(texts) - 1))
    at = sum(len(text) + 1 for text in texts[:number])
    start = data.draw(st.integers(0, len(texts[number]) - 1))
    end = data.draw(st.integers(start + 1, len(texts[number])))
    source, first, last = to_document(passage, at + start, at + end)
    assert source == "a.md"
    assert document[first:last] == passage.text[at + start : at + end]


@given(st.lists(st.text("ab ", min_size=1, max_size=8), min_size=2, max_size=4), st.data())
def test_a_quote_across_spans_is_clipped_to_the_first(texts, data):
    spans = [Span("a.md", 100 * number, 100 * number + len(text)) for number, text in enumerate(texts)]
    passage = make_passage(1, "\n".join(texts), *spans)
    start = data.draw(st.integers(0, len(passage.text) - 1))
    _, first, last = to_document(passage, start, len(passage.text))
    span = next(span for span in spans if span.start <= first <= span.end)
    assert span.start <= first <= last <= span.end


@pytest.mark.parametrize("piece", ["](", "](((", "](a)(", "- ", "> ", "|---", "---", "[", "* ", "\u0301", "# ", "|:-", "\\", " \t"])
def test_long_hostile_texts_end(piece):
    # A pattern that backtracks takes hours over this, not moments.
    text = piece * 20_000
    assert find_span("needle", text + "needle") is not None
    assert find_span("absent", text) is None


def test_a_long_run_of_spaces_takes_no_time():
    assert fold("---|" + " " * 200_000 + "x") == "--- x"


@pytest.mark.parametrize(
    ("quote", "span"),
    [
        ("When delay is larger than 1, it is set.", "When `delay` is larger than `1`, it is set."),
        ("When `delay` is larger than 1, it", "When `delay` is larger than `1`, it"),
        ("call `fetch()` twice", "call fetch() twice"),
        ("set.", "set."),
    ],
)
def test_code_is_found_without_the_backticks_that_a_page_does_not_show(quote: str, span: str) -> None:
    text = "Timers. When `delay` is larger than `1`, it is set. Or call fetch() twice."
    found = find_span(quote, text)
    assert found is not None
    assert text[slice(*found)].strip("`") == span


def test_a_backtick_that_stands_for_a_quotation_mark_is_still_one() -> None:
    assert find_span("the 'old' mill", "by the `old' mill") == (3, 17)
    assert find_span("`", "a ` b") is not None
    assert find_span("``", "nothing") is None
