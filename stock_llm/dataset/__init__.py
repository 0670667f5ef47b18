"""What the model learns and is judged by: decisions, rows, splits, other people's data, and what
must not be in them.

Read `moments.py`, `rows.py` and `splits.py` first. What a skill asks and how it is scored is in
`stock_llm/skills/`.
"""
