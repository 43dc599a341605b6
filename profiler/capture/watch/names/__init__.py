"""What opened files are called, in any mount namespace: fanotify, mounts, and the layers of overlays."""
