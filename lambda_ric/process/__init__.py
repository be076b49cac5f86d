"""The process itself: its children and threads, its replacement and its end. Loaded by what needs one of them."""
