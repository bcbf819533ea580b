"""What a request is made from, and how it is built."""
