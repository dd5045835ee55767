"""What memory should be: models that say so without running anything."""
