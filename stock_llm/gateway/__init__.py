"""The gateway: local models, the Claude command and the Claude API at one address, with routing,
fallback and budgets."""
