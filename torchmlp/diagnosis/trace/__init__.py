"""One traced pass: torch's calls, and the layers among them."""
