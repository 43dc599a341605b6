"""What `import coldseek` offers: a function a task, for scripts and notebooks.

As `cli/` it parses, calls and gives back, and does nothing that the rooms below do not: but its words are
those of Python. Names of files and devices stand for what they name, and errors name parameters.
"""
