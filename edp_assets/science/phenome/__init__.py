"""What a phenotype tracks: phecodes, traits of every kind, and their regression on many phenotypes at once."""
