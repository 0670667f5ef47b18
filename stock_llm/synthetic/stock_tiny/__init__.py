"""How stock-tiny, the embedded base model, is made from nothing."""
