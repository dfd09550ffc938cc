"""One server a file, each started as a process of its own."""
