"""What CUDA does otherwise than the CPU, rule by rule, each with its source."""
