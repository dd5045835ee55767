"""The parts of the picture that `timeline.views.png` puts together with matplotlib."""
