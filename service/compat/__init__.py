"""The APIs of other services, with the same pipeline and the same store behind them."""
