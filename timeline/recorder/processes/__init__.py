"""The target's children and theirs: how they are found, read and written down."""
