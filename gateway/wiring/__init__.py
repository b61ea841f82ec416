"""The composition root: from settings to running parts. Only here are concrete parts named."""
