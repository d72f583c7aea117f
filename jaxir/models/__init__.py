"""Tokens -> representations: transformer and static encoders as pure functions."""
