"""A StyleGAN3 generator of rendered people, and the encoder to its W+: see `generator.py` and `inversion.py`."""
