"""Functions of torch.nn.functional by topic; `lamina.pyfront.nn.functional` is their public door."""
