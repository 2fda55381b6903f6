"""Networks that other people wrote: files read and code called, without importing torch."""
