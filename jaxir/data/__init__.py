"""Text -> batches: sources, prepared data sets, tokenizers, and the feed."""
