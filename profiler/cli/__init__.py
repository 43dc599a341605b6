"""The commands: parse, call, print. A file a command; no logic here."""
