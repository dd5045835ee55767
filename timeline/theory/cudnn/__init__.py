"""cuDNN's own heuristics, asked without a GPU which workspaces its convolutions would take."""
