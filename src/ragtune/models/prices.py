"""What a hosted model's tokens cost, from the price list of genai-prices, which is updated with its releases; nothing is fetched."""

from __future__ import annotations

from ragtune.types import Price, Usage


def find_price(provider: str | None, model: str, own: tuple[float, float] | None = None, *, free: bool = False) -> Price | None:
    """How to price a model's calls.

    Args:
        provider: its name in the price list; ``None`` is in none.
        model: as the vendor names it; of a tuned model (``ft:base:…``) the base's price is doubled, as no list has those.
        own: dollars for a million prompt and completion tokens, which the user knows better.
        free: nothing is charged, whoever serves it.

    Returns:
        ``None`` where no price is known.
    """
    if own is not None:
        into, out = own
        return lambda usage: (usage.prompt_tokens * into + usage.completion_tokens * out) / 1e6
    if free:
        return lambda _: 0.0
    if provider is None:
        return None
    base, factor = (model.split(":")[1], 2.0) if model.startswith("ft:") else (model, 1.0)

    def price(usage: Usage) -> float:
        # Imported late: 0.1 s that only a hosted model needs.
        import genai_prices

        counted = genai_prices.Usage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)
        return factor * float(genai_prices.calc_price(counted, model_ref=base, provider_id=provider).total_price)

    try:
        price(Usage(1, 1))
    except LookupError:
        return None
    return price
