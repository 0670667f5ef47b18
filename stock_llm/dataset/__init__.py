"""What a model is trained and judged on: decisions, rows, splits, other people's data, and checks.

Read `decisions.py`, `sampling.py` and `splits.py` first. Each skill's questions and scores are in
`stock_llm/skills/`.
"""
