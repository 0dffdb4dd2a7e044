"""Questions to ranked chunks: dense and lexical rankings, fused."""
