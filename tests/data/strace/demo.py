"""The program in the golden logs: reads in all the ways that strace prints differently. Run in an empty
directory."""

import os
import socket
import threading

with open("data", "wb") as made:
    made.write(bytes(range(256)) * 64)
with open(b'a>b, "c" = 3\n\xff', "wb") as made:
    made.write(b"hello world\n" * 4)

data = os.open("data", os.O_RDONLY)
odd = os.open(b'a>b, "c" = 3\n\xff', os.O_RDONLY)
os.read(odd, 5)
os.unlink(b'a>b, "c" = 3\n\xff')
os.read(odd, 6)
os.pread(data, 512, 4096)
os.lseek(data, 8192, os.SEEK_SET)
os.read(data, 100)
os.lseek(data, -100, os.SEEK_CUR)
os.readv(data, [bytearray(30), bytearray(40)])
os.preadv(data, [bytearray(10)] * 40, 1024)
copy = os.dup(data)
os.read(copy, 30)
os.lseek(data, -10, os.SEEK_END)
os.read(data, 100)
os.read(data, 100)
inside, outside = os.pipe()
os.write(outside, b"x")
os.read(inside, 1)
counter = os.eventfd(1)
os.read(counter, 8)
pair = socket.socketpair()
pair[0].send(b"y")
os.read(pair[1].fileno(), 1)
null = os.open("/dev/zero", os.O_RDONLY)
os.read(null, 7)
target = os.open("copy", os.O_WRONLY | os.O_CREAT)
os.sendfile(target, data, 256, 1000)
worker = threading.Thread(target=lambda: [os.pread(data, 64, 128 * number) for number in range(3)])
worker.start()
worker.join()
child = os.fork()
if child == 0:
    os.lseek(copy, 2048, os.SEEK_SET)
    os.read(copy, 16)
    os.close(data)
    os._exit(3)
os.waitpid(child, 0)
os.read(data, 16)
os._exit(5)
