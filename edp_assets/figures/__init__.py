"""What people look at: arrays and tables in, matplotlib figures out."""
