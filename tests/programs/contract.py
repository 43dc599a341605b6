"""Makes 23 file reads in all the ways a tracer has to follow, and prints what each of them was.

Usage: contract.py DIRECTORY (with files `a`, 64 KiB, and `b`, 16 KiB, in it). On stdout a JSON list of
[file, offset, size] in the order in which they happen.
"""

import fcntl
import json
import os
import sys
import threading

A, B = "a", "b"
done = []


def expect(file, offset, size):
    done.append([file, offset, size])


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


os.chdir(sys.argv[1])
a = os.open(A, os.O_RDONLY)

# reads at the position, and lseek from all three ends
expect(A, 0, len(os.read(a, 1000)))
expect(A, 1000, len(os.read(a, 24)))
os.lseek(a, 8192, os.SEEK_SET)
expect(A, 8192, len(os.read(a, 4096)))
os.lseek(a, 100, os.SEEK_CUR)
expect(A, 12388, len(os.read(a, 12)))
os.lseek(a, -500, os.SEEK_END)
expect(A, 65036, len(os.read(a, 4096)))  # cut short by the end of the file: 500 bytes
assert os.read(a, 10) == b""  # the end of the file: no read

# at an offset of their own, which leaves the position alone
expect(A, 20480, len(os.pread(a, 512, 20480)))
expect(A, 40000, os.preadv(a, [bytearray(100), bytearray(200)], 40000))
os.lseek(a, 16, os.SEEK_SET)
expect(A, 16, os.readv(a, [bytearray(16), bytearray(16)]))
expect(A, 48, os.preadv(a, [bytearray(8)], -1, os.RWF_HIPRI))  # preadv2: -1 means the position

# memory that can be read like a file is none (memfd_create)
memory = os.memfd_create("m")
os.write(memory, b"x" * 1000)
assert len(os.pread(memory, 500, 0)) == 500
os.close(memory)

# dup shares the position, a second open does not
copy = os.dup(a)
expect(A, 56, len(os.read(copy, 10)))
expect(A, 66, len(os.read(a, 10)))
second = os.open(A, os.O_RDONLY)
expect(A, 0, len(os.read(second, 10)))
os.dup2(second, copy)
expect(A, 10, len(os.read(copy, 10)))
far = fcntl.fcntl(second, fcntl.F_DUPFD_CLOEXEC, 100)
expect(A, 20, len(os.read(far, 10)))

# threads share descriptors, and what they open and close
in_thread(lambda: expect(A, 76, len(os.read(a, 4))))
in_thread(lambda: expect(A, 30000, len(os.pread(a, 4, 30000))))
opened = []
in_thread(lambda: opened.append(os.open(B, os.O_RDONLY)))
expect(B, 0, len(os.read(opened[0], 2048)))

# a descriptor used again for another file
os.close(opened[0])
again = os.open(A, os.O_RDONLY)
assert again == opened[0]
expect(A, 0, len(os.read(again, 128)))
os.close(again)
b = os.open(B, os.O_RDONLY)
assert b == again
expect(B, 0, len(os.read(b, 64)))

# a child shares positions, but closes and opens for itself
sys.stdout.flush()
child = os.fork()
if child == 0:
    os.read(b, 100)  # B 64 100
    os.close(b)
    assert os.open(A, os.O_RDONLY) == b
    os.pread(b, 33, 333)  # A 333 33
    os._exit(0)
os.waitpid(child, 0)
expect(B, 64, 100)
expect(A, 333, 33)
expect(B, 164, len(os.read(b, 36)))  # behind what the child read

# what is no file does not count
inner, outer = os.pipe()
os.write(outer, b"12345678")
os.read(inner, 8)

expect(B, 4096, os.sendfile(outer, b, 4096, 1000))
assert len(done) == 23, len(done)
print(json.dumps(done))
