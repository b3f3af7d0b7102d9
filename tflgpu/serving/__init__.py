"""Models at work on many rows and for many callers: the Predictor, batch jobs, and a server.

Only `Predictor` needs nothing but NumPy. Batch jobs need the extra `batch`, Ray's the extra `ray`, the server `serve`.
"""
