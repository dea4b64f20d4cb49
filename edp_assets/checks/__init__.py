"""WHETHER a stored thing may be trusted: asset checks that stop what stands downstream."""
