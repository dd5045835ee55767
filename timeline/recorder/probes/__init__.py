"""What reads memory from beside the target, one file a source."""
