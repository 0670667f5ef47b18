"""What the user did: the ledger of their accounts, which instruments are meant, positions, cost and returns.

Read `ledger.py` first. What brokers write is read by `stock_llm/brokers/`; prices come from `stock_llm/market/`.
"""
