"""Real videos to training clips: layouts of data sets, filters, aligned clips, WebDataset shards."""
