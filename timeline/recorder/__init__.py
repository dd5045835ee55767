"""What runs in and beside the user's process: light, silent, and never in the way."""
