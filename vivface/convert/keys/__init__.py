"""Names of the official checkpoints' tensors, and where each goes: pure mappings, one family a file."""
