"""What is known of a loop, and in which line of the user's code it happens."""
