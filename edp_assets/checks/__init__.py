"""WHETHER what is stored may be trusted: asset checks that hold what stands downstream."""
