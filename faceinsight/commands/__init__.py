"""The command line, one verb a file; app.py puts them together."""
