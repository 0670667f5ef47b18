"""The gateway: local models, the Claude command and the Claude API behind one door, with routing,
fallback and budgets."""
