"""Self-supervised encoders: models, training, embedding."""
