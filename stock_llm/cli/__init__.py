"""The command line: main.py is the app, the other files hold its commands by group."""
