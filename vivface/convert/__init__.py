"""Official checkpoints to safetensors."""
