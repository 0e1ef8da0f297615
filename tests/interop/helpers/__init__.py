"""What the tests share: the binary, an HTTP server, a python-tuf repository, wheels made by hand."""
