"""Score maps to instance masks, fast."""
