"""The page that `app.py` opens: layout, events, endpoints, and the work behind them for many visitors at once."""
