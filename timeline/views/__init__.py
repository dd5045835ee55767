"""What a person sees, one file a format; each is a function of one Analysis."""
