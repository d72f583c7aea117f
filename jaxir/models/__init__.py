"""Tokens -> representations, as pure functions.

encoder      transformer(vocab_size, ...) -> Encoder      static   static(vocab_size, ...) -> Encoder
transformer  the trunk, its shape in config               bag      fast sums of embeddings
heads        pooling                                      towers   sides, projection, normalisation
mlm          logits over the vocabulary
lora         adapters on any encoder                              soup     averages of models
"""
