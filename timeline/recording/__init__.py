"""The facts of a run and their file. Import the modules: this package imports nothing."""
