"""Crops to pooled features: the encoders, what runs them, and the head behind them."""
