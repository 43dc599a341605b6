"""What lies where in a disk image, read from the image's own structures. Pure: bytes in, tables out."""
