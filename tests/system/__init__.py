"""The running product, end to end, as `pointsman dev` starts it."""
