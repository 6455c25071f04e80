"""What an operator sees of the application."""
