"""Tokens -> representations, as pure functions.

encoder      transformer(vocab_size, ...) -> Encoder      static   static(vocab_size, ...) -> Encoder
transformer  the trunk, its shape in config               bag      fast sums of embeddings
heads        pooling                                      towers   sides, projection, normalisation
mlm          logits over the vocabulary                   trunk    the trunk as heads use it
sparse       splade(vocab_size, ...) -> Encoder           fused_max, sparse_head, pruning  its pieces
term_weights, prosper, casper, slim: other sparse encoders       hybrid, concatenation: dense and sparse
lora         adapters on any encoder                              soup     averages of models
"""
