"""Proof that what is served is what was trained: prompts, limits and the logits of each step."""
