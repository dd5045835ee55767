"""What would lower a recorded peak, from the recording alone."""
