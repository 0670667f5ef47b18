"""From the ledger to positions: merging, matching names, lots, valuation, holdings over time."""
