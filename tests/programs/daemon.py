"""Leaves a process running that reads /etc/passwd again and again, and says so: daemon.py FILE

The command itself ends at once. A dot is added to FILE after each read.
"""

import os
import sys
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(sys.argv[1], "ab", buffering=0) as told:
            told.write(b"%d\n" % os.getpid())
            while True:
                with open("/etc/passwd", "rb") as read:
                    read.read()
                told.write(b".")
                time.sleep(0.02)
    os._exit(0)
os.wait()
